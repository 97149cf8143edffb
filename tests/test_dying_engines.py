"""Images that kill engines, and engines that die whatever they are given: `poison`, and when a run gives up."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from killed_run import KilledRun
from samples import jpeg

from recaption.cli import main

pytestmark = [pytest.mark.usefixtures("ray_session"), pytest.mark.slow]

POISON = "000000005"
STARTS = 2 + 1 + 2 + 1
"""Engines for one poison: killed twice among others, once in a small group, twice alone; the last one lives."""
UNCOUNTED = 2
"""Further ones that a process may cost that exits and so cannot say what was in flight: if the poison's chunk stood behind
the other one, and the last poll came before it started. It counts at the latest when the other one is in quarantine."""


@pytest.fixture
def work(make_source: Callable[..., Path], tmp_path: Path) -> KilledRun:
    return KilledRun(tmp_path / "work", make_source(shards=2, per_shard=20), capacity=8, latency=0.02)


def run(work: KilledRun, **model: Any) -> int:
    work.data["models"]["fake"].update(model)
    work.write()
    return main(["run", str(work.pipeline), "--quiet"])


def rows(work: KilledRun, kind: str, generation: str) -> list[dict[str, Any]]:
    paths = sorted(work.out.glob(f"{kind}/{generation}-*/*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


@pytest.mark.parametrize(
    ("how", "said", "model"),
    [
        ("", "", {}),
        ("", "", {"replicas": 2}),
        ("-soft", "CUDA error: an illegal memory access was encountered", {}),
        ("-hang", "the engine hangs: no token for", {"hang_seconds": 2}),
    ],
    ids=["exits", "exits-beside-another", "dies", "hangs"],
)
def test_an_image_that_crashes_engines_is_poison_and_all_others_are_answered(
    work: KilledRun, how: str, said: str, model: dict[str, Any]
) -> None:
    (work.faults / f"poison-{hashlib.sha256(jpeg(5)).hexdigest()}{how}").touch()
    assert run(work, **model) == 0
    for generation in ("long", "short"):
        (reject,) = rows(work, "rejects", generation)
        assert (reject["key"], reject["reason"], reject["stage"]) == (POISON, "poison", "generate")
        assert reject["attempts"] == 1
        assert "in isolation, it crashed two new engines" in reject["detail"]
        assert said in reject["detail"]
        keys = [row["key"] for row in rows(work, "answers", generation)]
        assert len(keys) == len(set(keys)) == 39 and POISON not in keys
    most = STARTS - 1 + model.get("replicas", 1) + (0 if how else UNCOUNTED)
    assert len(list(work.faults.glob("started-*"))) <= most


def test_engines_that_do_not_start_end_the_run_with_their_own_message(
    work: KilledRun, capsys: pytest.CaptureFixture[str]
) -> None:
    (work.faults / "dead").touch()
    assert run(work) == 3
    said = capsys.readouterr().err
    assert "error: the engine of model fake died 3 times without finishing any work" in said
    assert "Its last message: CUDA error: no kernel image is available" in said
    assert "Traceback" not in said


def test_engines_that_always_crash_end_the_run_without_poison(
    work: KilledRun, capsys: pytest.CaptureFixture[str]
) -> None:
    (work.faults / "dying").touch()
    assert run(work) == 3
    said = capsys.readouterr().err
    assert "times without finishing any work. Its last message: CUDA error: an illegal memory access" in said
    assert not list(work.out.glob("rejects/**/*.parquet")), "no image is to blame"
    (work.faults / "dying").unlink()
    assert run(work) == 0
    assert len(rows(work, "answers", "long")) == 40
