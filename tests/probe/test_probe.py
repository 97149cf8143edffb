"""All arms and seeds: a probe that was stopped continues and ends equal; its judgement of known sets is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from recaption.errors import UserError
from recaption.probe import demo, probe
from recaption.probe.arms import CONTROLS, CORRUPTED, Arm, controls
from recaption.probe.probe import Examination, Pictures
from recaption.probe.runs import Run, Runs
from recaption.probe.scenes import Scenes
from recaption.probe.settings import Training

SCENES = Scenes(images=60, held_out=20)
TRAINING = Training(seen=96, batch=16, width=8, buckets=256)


@pytest.fixture(scope="module")
def arms() -> list[Arm]:
    """All arms of the demo and its controls."""
    made = demo.arms(SCENES)
    return [*made, *controls(made[0], demo.records(SCENES, CORRUPTED))]


def features() -> Pictures:
    torch.manual_seed(0)
    return Pictures(train=torch.randn(60, 12), queries=torch.randn(20, 12))


def no_features() -> Pictures:
    raise AssertionError("all runs are finished")


class Stopped(Exception):
    pass


def test_a_probe_that_was_stopped_continues_and_ends_equal(arms: list[Arm], tmp_path: Path) -> None:
    examined = demo.examination(SCENES)
    given = {"seeds": 2, "training": TRAINING}
    whole = probe.run_all(arms, features, examined, runs=Runs(tmp_path / "whole", "x"), **given)
    made: list[str] = []

    def stop(run: Run, resumed: bool) -> None:
        made.append(run.arm)
        if len(made) == 5:
            raise Stopped

    with pytest.raises(Stopped):
        probe.run_all(arms, features, examined, runs=Runs(tmp_path / "part", "x"), progress=stop, **given)
    resumed: list[bool] = []
    again = probe.run_all(
        arms,
        features,
        examined,
        runs=Runs(tmp_path / "part", "x"),
        progress=lambda run, before: resumed.append(before),
        **given,
    )
    assert resumed == [True] * 5 + [False] * 9
    assert whole.keys() == again.keys() == {arm.name for arm in arms}
    finished = probe.run_all(arms, no_features, examined, runs=Runs(tmp_path / "part", "x"), **given)
    assert finished.keys() == whole.keys()
    for name, found in whole.items():
        assert np.array_equal(found, again[name]), name


def test_two_arms_of_one_name_are_refused(arms: list[Arm], tmp_path: Path) -> None:
    examined = Examination(queries=[], images=[])
    with pytest.raises(UserError, match="two arms are named 'true'"):
        probe.run_all([*arms, arms[0]], features, examined, seeds=1, training=TRAINING, runs=Runs(tmp_path / "r", "x"))


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
