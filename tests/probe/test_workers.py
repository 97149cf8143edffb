"""Runs in several processes give the numbers of runs in one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recaption.errors import RecaptionError
from recaption.probe import demo, workers
from recaption.probe.pictures import PictureFile, Pictures, write_features
from recaption.probe.scenes import Scenes
from recaption.probe.settings import Training
from recaption.probe.workers import Work, finished


@pytest.fixture
def work(tmp_path: Path) -> Work:
    of = Scenes(images=20, held_out=7)
    pictures = PictureFile(path=tmp_path / "features.npy", train=20)
    features = Pictures(train=torch.randn(20, 6), queries=torch.randn(7, 6))
    pictures.ensure(lambda path: write_features(path, features))
    return Work(
        arms={arm.name: arm for arm in demo.arms(of)},
        pictures=pictures,
        examined=demo.examination(of),
        training=Training(seen=32, batch=8, width=8, buckets=256),
    )


def test_two_processes_give_the_numbers_of_one(work: Work) -> None:
    jobs = [(demo.TRUE, 0), (demo.RAW, 0), (demo.EXCHANGED, 1)]
    alone = {(run.arm, run.seed): run for run in finished(work, jobs, 1)}
    together = {(run.arm, run.seed): run for run in finished(work, jobs, 2)}
    assert alone.keys() == together.keys() == set(jobs)
    for job in jobs:
        assert alone[job].loss == together[job].loss
        assert np.array_equal(alone[job].outcomes, together[job].outcomes)


def test_a_process_that_is_killed_is_reported(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dead:
        def submit(self, *_: object) -> object:
            raise workers.BrokenProcessPool

        def shutdown(self, **_: object) -> None:
            pass

    monkeypatch.setattr(workers, "ProcessPoolExecutor", lambda *_, **__: Dead())
    with pytest.raises(RecaptionError, match="with fewer --processes; finished runs are kept"):
        list(finished(work, [(demo.TRUE, 0), (demo.TRUE, 1)], 2))
