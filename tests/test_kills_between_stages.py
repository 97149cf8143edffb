"""kill -9 while sentences are verified and repaired, by two models in three stages, and by one model in one pass."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from killed_run import KilledRun
from samples import jpeg, sample, write_tar
from test_kills import CAPACITY, COST, disturb, files, work_on

IMAGES = 80
SENTENCES = 2  # of each caption
IN_FLIGHT = 2 * SENTENCES * CAPACITY
"""Requests about sentences enter the engine together, for twice as many images as fit into it."""
STAGED_COST = {**COST, "engine": IN_FLIGHT}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards; among their images one that cannot be decoded, and one that is there twice."""
    folder = tmp_path_factory.mktemp("source")
    for shard in range(2):
        images = [jpeg(1000 * shard + i) for i in range(IMAGES // 2)]
        images[3], images[7] = b"<html>%d" % shard, images[5]
        write_tar(folder / f"{shard}.tar", [sample(f"{shard}{i:04d}", data) for i, data in enumerate(images)])
    return folder


def staged(source: Path, folder: Path, judge: str) -> KilledRun:
    """`judge`: the model that verifies; "fake" is the one that captions and repairs."""
    work = work_on(source, folder)
    work.data["models"].setdefault(judge, dict(work.data["models"]["fake"]))
    work.data["generate"] = [
        {"id": "long", "model": "fake", "prompt": "describe_long"},
        {"id": "check", "model": judge, "task": "verify", "over": "long", "which": "all"},
        {"id": "repaired", "model": "fake", "task": "repair", "over": "check"},
    ]
    work.write()
    work.patience = 480.0  # three stages, each with the start of an engine
    return work


Undisturbed = tuple[dict[str, bytes], int]


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Undisturbed]:
    """The files of a run that nothing befell, and how many requests it sent."""
    made: dict[str, Undisturbed] = {}

    def of(judge: str) -> Undisturbed:
        if judge not in made:
            work = staged(source, tmp_path_factory.mktemp("undisturbed"), judge)
            work.start()
            assert work.wait() == 0, work.said()
            made[judge] = files(work.out), work.asked()
            assert work.unstored() == 0
            assert any("repaired-" in name for name in made[judge][0]), "there is something to repair"
        return made[judge]

    return of


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Callable[[Path, str], KilledRun]]:
    made: list[KilledRun] = []

    def start(source: Path, judge: str) -> KilledRun:
        made.append(staged(source, tmp_path / "work", judge))
        return made[-1]

    yield start
    for each in made:
        each.clean_up()


def check(run: KilledRun, undisturbed: Undisturbed, seed: int, kind: str) -> None:
    expected, requests = undisturbed
    lost = disturb(run, [(kind, random.Random(seed).randint(1, requests - 40))], requests, STAGED_COST)
    assert files(run.out) == expected
    assert requests <= run.asked() <= requests + lost, "what is in the store is not paid for again"


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "kind", "judge"), [(0, "driver", "fake")])
def test_a_staged_run_with_killed_processes_has_the_same_result(
    work: Callable[[Path, str], KilledRun],
    source: Path,
    undisturbed: Callable[[str], Undisturbed],
    seed: int,
    kind: str,
    judge: str,
) -> None:
    check(work(source, judge), undisturbed(judge), seed, kind)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(30))
def test_thirty_kills_between_stages(
    work: Callable[[Path, str], KilledRun], source: Path, undisturbed: Callable[[str], Undisturbed], seed: int
) -> None:
    judge = ("judge", "fake")[seed % 3 == 2]
    check(work(source, judge), undisturbed(judge), seed, list(COST)[seed % len(COST)])
