"""Trains the arms of a probe for each seed, and compares them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from torch import Tensor

from recaption.errors import UserError
from recaption.probe import tower, verdict
from recaption.probe.arms import CONTROLS, Arm
from recaption.probe.queries import Query, Slice, slices
from recaption.probe.runs import Run, Runs
from recaption.probe.settings import Training
from recaption.probe.tower import one_thread
from recaption.probe.verdict import Comparison, Controls, Outcomes

Progress = Callable[[Run, bool], None]
"""Called after each run; True if the run was already finished."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """Features of the images that arms train on [N, F] and of those that queries are about [M, F]. No image is both."""

    train: Tensor
    queries: Tensor

    def standardised(self) -> Pictures:
        """Each column with mean 0 and standard deviation 1 over the training images."""
        mean, deviation = self.train.mean(0), self.train.std(0).clamp_min(1e-6)
        return Pictures(train=(self.train - mean) / deviation, queries=(self.queries - mean) / deviation)


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """The queries, and for each the position of its image in `Pictures.queries`."""

    queries: Sequence[Query]
    images: Sequence[int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """One metric of one slice: the arms by seed, the control arms, and each pair of arms."""

    slice: str
    metric: str
    queries: int
    values: Mapping[str, Sequence[float]]  # arm -> a value for each seed
    controls: Controls
    pairs: Mapping[tuple[str, str], Comparison]


def run_all(
    arms: Sequence[Arm],
    pictures: Callable[[], Pictures],
    examined: Examination,
    *,
    seeds: int,
    training: Training,
    runs: Runs,
    progress: Progress = lambda run, resumed: None,
) -> dict[str, Outcomes]:
    """The outcomes of all arms, those of controls included: [seeds, queries] for each name.

    Runs that `runs` already has are not repeated. One thread: equal numbers on any number of cores. Raises UserError
    for two arms of one name, or one that is named like a control.
    """
    names = [arm.name for arm in arms]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"two arms are named {twice[0]!r}; arms and controls ({', '.join(CONTROLS)}) need different names"
        )
    features: Pictures | None = None  # only computed if a run is left
    with one_thread():
        for seed in range(seeds):
            for arm in arms:
                done = runs.get(arm.name, seed)
                if done is None:
                    features = features or pictures().standardised()
                    runs.add(made := _run(arm, features, examined, seed, training))
                    progress(made, False)
                else:
                    progress(done, True)
    return {arm.name: np.array([_found(runs, arm.name, seed) for seed in range(seeds)], np.float64) for arm in arms}


def _found(runs: Runs, arm: str, seed: int) -> Any:
    found = runs.get(arm, seed)
    assert found is not None
    return found.outcomes


def _run(arm: Arm, pictures: Pictures, examined: Examination, seed: int, training: Training) -> Run:
    started = time.monotonic()
    trained = tower.train(pictures.train, arm.drawer(seed), seed, training)
    found = tower.outcomes(trained.model, pictures.queries, examined.images, examined.queries)
    return Run(arm=arm.name, seed=seed, loss=trained.loss, seconds=time.monotonic() - started, outcomes=found)


def judge(outcomes: Mapping[str, Outcomes], arms: Sequence[str], queries: Sequence[Query], images: int) -> list[Judged]:
    """All metrics of all slices. `arms`: names without those of controls, the first one first; `images`: how many
    images the queries are about."""
    return [_judged(outcomes, arms, of, metric, images) for of in slices(queries) for metric in of.metrics]


def _judged(outcomes: Mapping[str, Outcomes], arms: Sequence[str], of: Slice, metric: str, images: int) -> Judged:
    found = {name: made[:, of.rows] for name, made in outcomes.items()}
    checked = verdict.controls(metric, found[arms[0]], *(found[name] for name in CONTROLS), images=images)
    return Judged(
        slice=of.name,
        metric=metric,
        queries=len(of.rows),
        values={name: verdict.of_seeds(metric, made).tolist() for name, made in found.items()},
        controls=checked,
        pairs={(a, b): verdict.compare(metric, found[a], found[b], checked) for a, b in combinations(arms, 2)},
    )


def consistency(
    outcomes: Mapping[str, Outcomes], arms: Sequence[str], queries: Sequence[Query]
) -> dict[str, dict[str, list[float]]]:
    """Arm -> slice (the texts of an arm) -> R@1 of each seed."""
    found = slices(queries)
    return {
        name: {of.name: verdict.of_seeds("R@1", outcomes[name][:, of.rows]).tolist() for of in found} for name in arms
    }
