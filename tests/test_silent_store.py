"""A store that accepts connections and does not answer: the run says so, hears signals, waits, and loses nothing."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from killed_run import TESTS, KilledRun
from s3_server import Fault, needs_s3, s3_process, s3_server
from samples import jpeg
from small_output import answer_all, pipeline_data, write_source

pytestmark = [needs_s3, pytest.mark.slow, pytest.mark.timeout(1200)]
IMAGES = 200


class Silent:
    """A run onto a server that can be stopped."""

    def __init__(self, run: KilledRun, server: subprocess.Popen[str], url: str) -> None:
        self.run, self._server, self.url = run, server, url

    def stop(self) -> None:
        self._server.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._server.send_signal(signal.SIGCONT)

    def wait_until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.run.patience
        while not done():
            assert time.monotonic() < deadline and self.run.running, self.run.said()
            time.sleep(0.05)

    def wait_for(self, text: str) -> None:
        self.wait_until(lambda: text in self.run.said())

    def status(self, *options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "recaption", "status", self.url, *options],
            env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@pytest.fixture
def silent(make_source: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Silent]:
    run = KilledRun(tmp_path / "work", make_source(shards=1, per_shard=IMAGES), latency=0.3, capacity=8)
    with s3_process(monkeypatch) as (server, url):
        run.data["output"]["path"] = url
        run.write()
        found = Silent(run, server, url)
        try:
            yield found
        finally:
            found.go_on()
            run.clean_up()


@pytest.mark.systems
def test_a_silent_store_is_reported_and_costs_only_time(silent: Silent) -> None:
    run = silent.run
    run.start()
    assert run.wait_until_asked(IMAGES // 8)
    silent.stop()
    before = run.asked()
    silent.wait_for("the store has not answered for")
    silent.wait_until(lambda: run.asked() > before + 2 * 64)  # engines go on with what they have
    status = silent.status()
    assert status.stderr is not None
    said = ""
    while "the store has not answered" not in said and (line := status.stderr.readline()):
        said += line
    silent.go_on()
    out, errors = status.communicate(timeout=run.patience)
    assert status.returncode == 0 and "running" in out
    assert re.search(r"the store has not answered for \d\d s", said + errors)
    silent.wait_for("the store answers again")
    assert run.wait() == 0, run.said()
    assert run.asked() == 2 * IMAGES, "nothing is asked twice"
    assert (
        f"asked {IMAGES:,} = from earlier runs 0 + duplicate images 0 + answered {IMAGES:,} + rejected 0" in run.said()
    )


@pytest.mark.systems
def test_a_signal_stops_a_run_while_the_store_is_silent(silent: Silent) -> None:
    run = silent.run
    run.start()
    assert run.wait_until_asked(IMAGES // 8)
    silent.stop()
    time.sleep(4)
    run.signal(signal.SIGTERM)  # returns once the run has said that it stops
    assert run.wait() == 75, run.said()
    silent.go_on()
    run.start()
    assert run.wait() == 0, run.said()


@pytest.mark.parametrize("silent", ["pipeline.yaml", "/rejects/"])
def test_ctrl_c_ends_retry_while_the_store_is_silent(
    silent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_source(tmp_path, shards=2)
    (tmp_path / "moods").mkdir(exist_ok=True)
    (tmp_path / "moods" / f"refuse-{hashlib.sha256(jpeg(1)).hexdigest()}").touch()
    answer_all(pipeline_data(tmp_path))
    reached, free = threading.Event(), threading.Event()

    def fault(method: str, path: str) -> Fault | None:
        if silent in path and method == "GET":
            reached.set()
            free.wait()
        return None

    with s3_server(monkeypatch) as server:
        url = server.bucket()
        fsspec.filesystem("s3").put(f"{tmp_path / 'out'}/", f"{url}/", recursive=True)
        server.fault = fault
        retry = [sys.executable, "-m", "recaption", "retry", url, "--reason", "refusal"]
        process = subprocess.Popen(
            [*retry, "--pipeline", str(tmp_path / "out/pipeline.yaml")],
            env={**os.environ, "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert reached.wait(600), "it reads from the store"
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=120)
            assert process.returncode == 75, (out, errors)
        finally:
            free.set()
            process.kill()
            process.wait()
