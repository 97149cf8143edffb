"""Trains the arms of a probe for each seed, and compares them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from recaption.errors import UserError
from recaption.probe import verdict
from recaption.probe.arms import CONTROLS, Arm
from recaption.probe.queries import Query, Slice, slices
from recaption.probe.runs import Run, Runs
from recaption.probe.verdict import Comparison, Controls, Outcomes
from recaption.probe.workers import Work, finished

Progress = Callable[[Run, bool], None]
"""Called after each run; True if the run was already finished."""


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
    work: Work, *, seeds: int, runs: Runs, processes: int = 1, progress: Progress = lambda run, resumed: None
) -> dict[str, Outcomes]:
    """The outcomes of all arms, those of controls included: [seeds, queries] for each name.

    Runs that `runs` already has are not repeated. Each run has one thread, so numbers are equal for any number of
    cores and processes.
    """
    jobs = [(name, seed) for seed in range(seeds) for name in work.arms]
    left = []
    for job in jobs:
        if done := runs.get(*job):
            progress(done, True)
        else:
            left.append(job)
    for run in finished(work, left, processes):
        runs.add(run)
        progress(run, False)
    return {name: np.array([_found(runs, name, seed) for seed in range(seeds)], np.float64) for name in work.arms}


def by_name(arms: Sequence[Arm]) -> dict[str, Arm]:
    """The arms by name. Raises UserError for two arms with one name, and for an arm with the name of a control."""
    names = [arm.name for arm in arms]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(
            f"two arms are named {twice[0]!r}; arms and controls ({', '.join(CONTROLS)}) need different names"
        )
    return {arm.name: arm for arm in arms}


def _found(runs: Runs, arm: str, seed: int) -> Any:
    found = runs.get(arm, seed)
    assert found is not None
    return found.outcomes


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
