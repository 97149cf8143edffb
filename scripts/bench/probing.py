"""The rule of `recaption probe` on equal arms; policies and weights on scenes with noisy captions.

Both train for minutes to an hour. Finished runs are kept in `out/bench-probe` and are not repeated.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import noisy_scenes
from noisy_scenes import Described

from recaption.probe import demo
from recaption.probe.arms import CORRUPTED, Arm, Spool, changed, controls, corrupter
from recaption.probe.command import cores
from recaption.probe.pictures import PictureFile, write_features
from recaption.probe.probe import by_name, judge, run_all
from recaption.probe.queries import slices
from recaption.probe.runs import Run, Runs
from recaption.probe.scenes import Scenes
from recaption.probe.settings import Training, identity, parse_policy
from recaption.probe.verdict import LEAST_SEEDS, Controls, Outcomes, compare, of_seeds
from recaption.probe.workers import Work

_FOLDER: Final = Path("out/bench-probe")
_PROBES: Final = 10
_DEFAULT: Final = "default"
_DEFAULT_POLICY: Final = "p_raw=0.1,max_merge=3"
P_RAW: Final = {f"p_raw {p}": f"p_raw={p},max_merge=3" for p in (0, 0.3, 0.5, 0.8)}
MAX_MERGE: Final = {f"max_merge {n}": f"p_raw=0.1,max_merge={n}" for n in (1, 2, 5)}


def measure_null(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ten probes with 5 seeds of their own, each of four arms that differ in their draws only: 200 runs of the demo's
    training, about 25 minutes of CPU time."""
    of = Scenes()
    truth, policy = demo.records(of), parse_policy(demo.POLICY)
    arms = [
        Arm(name=name, records=truth, policy=policy, salt=1_000_003 * n)  # no draws of another seed
        for n, name in enumerate("ABCD")
    ]
    outcomes = _trained("null", arms, of, _PROBES * LEAST_SEEDS, Training())
    return {
        f"{part.name}, {metric}": called_better(metric, [outcomes[arm.name][:, part.rows] for arm in arms])
        for part in slices(of.queries())
        for metric in part.metrics
    }


def called_better(metric: str, arms: Sequence[Outcomes]) -> dict[str, int]:
    """How many pairs of four equal arms the rule calls different, in each block of 5 seeds.

    `repeats` are the pairs A, B and C, D, which have no run in common. `again` is an arm that is not in the pair; the
    other controls count as in order.
    """
    repeats, others = list[bool](), list[bool]()
    for start in range(0, len(arms[0]), LEAST_SEEDS):
        block = [arm[start : start + LEAST_SEEDS] for arm in arms]
        for a, b in combinations(range(len(arms)), 2):
            third = next(n for n in range(len(arms)) if n not in (a, b))
            again = abs(of_seeds(metric, block[a]).mean() - of_seeds(metric, block[third]).mean())
            found = compare(metric, block[a], block[b], Controls(again=float(again), faults=()))
            (repeats if (a, b) in ((0, 1), (2, 3)) else others).append(found.better is not None)
    return {
        "repeats": len(repeats),
        "called better": sum(repeats),
        "all pairs": len(repeats + others),
        "of these called better": sum(repeats + others),
    }


def measure_sweep(arguments: argparse.Namespace) -> dict[str, Any]:
    """Arms that differ from the default in one setting, with captions that have random errors; and values of `p_raw`
    with consistent errors."""
    of = Scenes()
    random_errors = noisy_scenes.described(of.train, noisy_scenes.random_errors)
    consistent_errors = noisy_scenes.described(of.train, noisy_scenes.consistent_errors)
    found: dict[str, Any] = {}
    for kind, arms in (
        ("random", [*policy_arms(random_errors, P_RAW | MAX_MERGE), *weight_arms(random_errors)]),
        ("consistent", policy_arms(consistent_errors, P_RAW)),
    ):
        names = [arm.name for arm in arms]
        corrupted = changed(arms[0].records, corrupter(CORRUPTED))
        outcomes = _trained(f"sweep-{kind}", [*arms, *controls(arms[0], corrupted)], of, LEAST_SEEDS, Training())
        for one in judge(outcomes, names, of.queries(), of.held_out):
            for name, values in one.values.items():
                pair = one.pairs.get((_DEFAULT, name))
                verdict = "" if pair is None or pair.better is None else " worse" if pair.better else " better"
                key = f"{kind} errors, {one.slice}, {one.metric}: {name}"
                found[key] = f"{statistics.fmean(values):.3f} ± {statistics.stdev(values):.3f}{verdict}"
    return found


def policy_arms(described: Sequence[Described], policies: dict[str, str]) -> list[Arm]:
    """The default, and other policies."""
    records = _records(described, noisy_scenes.by_weight)
    return [
        Arm(name=name, records=records, policy=parse_policy(f"weighted:k=4,{policy}"))
        for name, policy in ({_DEFAULT: _DEFAULT_POLICY} | policies).items()
    ]


def weight_arms(described: Sequence[Described]) -> list[Arm]:
    """The default policy with other weights."""
    policy = parse_policy(f"weighted:k=4,{_DEFAULT_POLICY}")
    weights = {
        "no verification": noisy_scenes.unverified,
        "verified only": noisy_scenes.verified_only,
        "no weights": noisy_scenes.equal_weights,
    }
    return [Arm(name=name, records=_records(described, weigh), policy=policy) for name, weigh in weights.items()]


def _records(described: Sequence[Described], weigh: noisy_scenes.Weigh) -> Spool:
    return Spool(weigh(one) for one in described)


def _trained(name: str, arms: Sequence[Arm], of: Scenes, seeds: int, training: Training) -> dict[str, Outcomes]:
    def finish(run: Run, resumed: bool) -> None:
        print(f"{run.arm}  seed {run.seed}  {'finished before' if resumed else f'{run.seconds:.1f} s'}", flush=True)

    _FOLDER.mkdir(parents=True, exist_ok=True)
    pictures = PictureFile(path=_FOLDER / f"features-{of.images}-{of.held_out}.npy", train=of.images)
    pictures.ensure(lambda path: write_features(path, demo.pictures(of)))
    work = Work(arms=by_name(arms), pictures=pictures, examined=demo.examination(of), training=training)
    records = {arm.name: arm.records.sha256 for arm in arms if isinstance(arm.records, Spool)}
    runs = Runs(_FOLDER / f"{name}.parquet", identity(bench=name, records=records, training=asdict(training)))
    return run_all(work, seeds=seeds, runs=runs, processes=cores(), progress=finish)
