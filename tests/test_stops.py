"""What ends a run before its end: signals, another run, a full disk, too many bad answers. Exit codes and words."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from killed_run import KilledRun

from recaption.cli import main

Make = Callable[..., KilledRun]


@pytest.fixture
def make(make_source: Callable[..., Path], tmp_path: Path) -> Iterator[Make]:
    """`make(images, **engine_args)`"""
    made: list[KilledRun] = []

    def work(images: int, **engine_args: Any) -> KilledRun:
        made.append(KilledRun(tmp_path / "work", make_source(shards=1, per_shard=images), capacity=16, **engine_args))
        return made[-1]

    yield work
    for each in made:
        each.clean_up()


def keys(work: KilledRun) -> list[list[str]]:
    found = []
    for generation in ("long", "short"):
        paths = work.out.glob(f"answers/{generation}-*/**/*.parquet")
        found.append([key for path in paths for key in pq.read_table(path, columns=["key"])["key"].to_pylist()])
    return found


def run(work: KilledRun) -> int:
    work.write()
    return main(["run", str(work.pipeline), "--quiet"])


@pytest.mark.slow
def test_the_first_interrupt_drains_and_no_request_is_repeated(make: Make) -> None:
    work = make(200, latency=0.1, child=True)
    work.start()
    assert work.wait_until_asked(100, room=100), work.said()
    work.signal(signal.SIGINT)
    assert work.wait() == 75, work.said()
    assert "interrupted: stopped on request; run the same command again to continue" in work.said()
    asked = work.asked()
    assert asked < 400
    assert [len(found) for found in keys(work)] == [len(set(found)) for found in keys(work)]
    assert sum(len(found) for found in keys(work)) == asked, "all that was asked is put"


@pytest.mark.slow
def test_the_second_interrupt_does_not_wait_for_the_engine(make: Make) -> None:
    work = make(200, latency=600)
    work.start()
    assert work.wait_until_asked(16), work.said()
    work.signal(signal.SIGINT)
    time.sleep(1.5)
    assert work.running, "it drains"
    work.signal(signal.SIGINT)
    assert work.wait() == 75, work.said()
    assert "interrupted: stopped at once; run the same command again to continue" in work.said()


@pytest.mark.slow
def test_a_second_run_of_an_output_is_refused(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    work = make(200, latency=0.1)
    work.start()
    assert work.wait_until_asked(1, room=100), work.said()
    driver = work.find("driver")
    assert driver is not None
    assert run(work) == 2
    said = capsys.readouterr().err
    assert f"{work.out} is being written by process {driver.pid} on {os.uname().nodename}" in said
    assert "Stop it or wait for it" in said
    assert work.running, "the first one is not disturbed"
    work.signal(signal.SIGTERM)
    assert work.wait() == 75, work.said()


@pytest.mark.usefixtures("ray_session")
def test_too_many_refusals_open_the_circuit_breaker(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    work = make(400, latency=0.05, refusals=True)
    work.data["breaker"] = {"window": 50}
    work.hold(3 * 400)  # half of all requests: the run would hang if it went on
    monkeypatch.setattr("recaption.generate.driver.DRAIN_SECONDS", 1.0)  # for those that wait
    assert run(work) == 1, "not 3: a scheduler would start it again"
    said = capsys.readouterr().err
    assert "error: the run was stopped" in said
    assert "were rejected, more than breaker.rejects = 0.5 allows (refusal " in said
    assert "--set breaker.rejects=1 disables this check" in said
    assert work.asked() <= 3 * 400, "it stops early"


@pytest.mark.usefixtures("ray_session")
def test_a_full_disk_ends_the_run_and_stored_answers_count(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    work = make(150, latency=0.01)
    order, hold = work.faults / "full-200", work.faults / "hold-200"
    hold.touch()

    def fill() -> None:
        while not list(work.out.glob("answers/*/.parts/*/*.parquet")):
            time.sleep(0.02)
        order.touch()
        hold.unlink()

    filling = threading.Thread(target=fill, daemon=True)
    filling.start()
    assert run(work) == 3
    filling.join()
    said = capsys.readouterr().err
    assert "error: cannot write" in said
    assert "No space left on device. Free some space, then run the same command again" in said
    assert not list(work.out.rglob(".tmp-*"))
    kept = sum(len(found) for found in keys(work))
    assert 0 < kept < 300
    order.unlink()
    before = work.asked()
    assert run(work) == 0
    assert work.asked() - before == 300 - kept
    assert [len(set(found)) for found in keys(work)] == [len(found) for found in keys(work)] == [150, 150]


@pytest.mark.parametrize(("number", "what"), [(errno.EROFS, "Read-only file system"), (errno.ENOSPC, "No space left")])
def test_an_unwritable_output_is_refused_before_the_run_starts(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, what: str
) -> None:
    def sync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    work = make(2)
    monkeypatch.setattr(os, "fsync", sync)
    assert run(work) == 2
    said = capsys.readouterr().err
    assert f"output.path cannot be written: cannot write {work.out}" in said and what in said
    assert "Choose another with --set output.path=" in said
    assert not [path for path in work.out.rglob("*") if path.is_file()]
