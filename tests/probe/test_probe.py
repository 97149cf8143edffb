"""All arms and seeds: a probe that was stopped continues and ends equal; its judgement of known sets is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recaption.errors import UserError
from recaption.probe import demo, probe
from recaption.probe.arms import CONTROLS, CORRUPTED, controls
from recaption.probe.pictures import PictureFile, Pictures, write_features
from recaption.probe.runs import Run, Runs
from recaption.probe.scenes import Scenes
from recaption.probe.settings import Training
from recaption.probe.workers import Work

SCENES = Scenes(images=60, held_out=20)
TRAINING = Training(seen=96, batch=16, width=8, buckets=256)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """All arms of the demo and its controls, with features that show nothing."""
    made = demo.arms(SCENES)
    arms = [*made, *controls(made[0], demo.records(SCENES, CORRUPTED))]
    pictures = PictureFile(path=tmp_path_factory.mktemp("probe") / "features.npy", train=60)
    noise = torch.Generator().manual_seed(0)
    features = Pictures(train=torch.randn(60, 12, generator=noise), queries=torch.randn(20, 12, generator=noise))
    pictures.ensure(lambda path: write_features(path, features))
    return Work(arms=probe.by_name(arms), pictures=pictures, examined=demo.examination(SCENES), training=TRAINING)


class Stopped(Exception):
    pass


def test_a_probe_that_was_stopped_continues_and_ends_equal(work: Work, tmp_path: Path) -> None:
    whole = probe.run_all(work, seeds=2, runs=Runs(tmp_path / "whole", "x"))
    made: list[str] = []

    def stop(run: Run, resumed: bool) -> None:
        made.append(run.arm)
        if len(made) == 5:
            raise Stopped

    with pytest.raises(Stopped):
        probe.run_all(work, seeds=2, runs=Runs(tmp_path / "part", "x"), progress=stop)
    resumed: list[bool] = []
    again = probe.run_all(
        work,
        seeds=2,
        runs=Runs(tmp_path / "part", "x"),
        progress=lambda run, before: resumed.append(before),
    )
    assert resumed == [True] * 5 + [False] * 9
    assert whole.keys() == again.keys() == work.arms.keys()
    for name, found in whole.items():
        assert np.array_equal(found, again[name]), name


def test_two_arms_of_one_name_are_refused(work: Work) -> None:
    with pytest.raises(UserError, match="two arms are named 'true'"):
        probe.by_name([*work.arms.values(), work.arms["true"]])


def test_every_slice_and_metric_is_judged_apart() -> None:
    queries = SCENES.queries()
    rng = np.random.default_rng(0)
    names = ["a", "b"]
    outcomes = {name: rng.normal(size=(5, len(queries))) for name in [*names, *CONTROLS]}
    judged = probe.judge(outcomes, names, queries, 20)
    assert [(one.slice, one.metric, one.queries) for one in judged] == [
        ("statement", "fine", 60), ("statement", "d'", 60), ("short caption", "R@1", 20)
    ]  # fmt: skip
    assert all(list(one.pairs) == [("a", "b")] for one in judged)
    assert all(len(values) == 5 for one in judged for values in one.values.values())


def test_the_demo_checks_what_is_known_about_scenes() -> None:
    queries = SCENES.queries() * 10
    rng = np.random.default_rng(0)
    order = {demo.TRUE: 1.0, "again": 1.0, demo.SLIGHTLY: 0.9, demo.EXCHANGED: 0.5, "corrupted": 0.5}
    of_query = rng.normal(size=len(queries))

    def made(order: dict[str, float]) -> dict[str, np.ndarray]:
        names = [demo.TRUE, demo.SLIGHTLY, demo.EXCHANGED, demo.RAW, *CONTROLS]
        return {n: order.get(n, 0.0) + of_query + 0.002 * rng.normal(size=(5, 1)) for n in names}

    arms = [demo.TRUE, demo.SLIGHTLY, demo.EXCHANGED, demo.RAW]
    by_text = {one.text: one.right for one in demo.checks(probe.judge(made(order), arms, queries, 20))}
    of_fine = {text: right for text, right in by_text.items() if text.startswith("statement, d'")}
    assert len(of_fine) == 4 and all(of_fine.values())
    found = demo.checks(probe.judge(made({**order, "corrupted": 1.2}), arms, queries, 20))
    assert not all(one.right for one in found)
