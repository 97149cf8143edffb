"""The rule of `recaption probe` on equal arms; policies and weights on scenes with noisy captions.

Both train for minutes to an hour. Finished runs are kept in `out/bench-probe` and are not repeated.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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
_REPEATS: Final = 20
_DEFAULT: Final = "default"
_DEFAULT_POLICY: Final = "p_raw=0.1,max_merge=3"
P_RAW: Final = {f"p_raw {p}": f"p_raw={p},max_merge=3" for p in (0, 0.3, 0.5, 0.8)}
MAX_MERGE: Final = {f"max_merge {n}": f"p_raw=0.1,max_merge={n}" for n in (1, 2, 5)}


def measure_null(arguments: argparse.Namespace) -> dict[str, Any]:
    """Repeats with 5 seeds each of three arms that differ in their draws only. A quarter of the default training."""
    of = Scenes()
    truth, policy = demo.records(of), parse_policy(demo.POLICY)
    arms = [
        Arm(name=name, records=truth, policy=policy, salt=1_000_003 * n)  # no draws of another seed
        for n, name in enumerate(("A", "A'", "A''"))
    ]
    outcomes = _trained("null", arms, of, _REPEATS * LEAST_SEEDS, Training(seen=Training().seen // 4))
    return {
        "repeats": _REPEATS,
        **{
            f"{part.name}, {metric}": called_better(metric, {name: o[:, part.rows] for name, o in outcomes.items()})
            for part in slices(of.queries())
            for metric in part.metrics
        },
    }


def called_better(metric: str, outcomes: Mapping[str, Outcomes]) -> dict[str, int]:
    """How many pairs of equal arms the rule calls different. The third arm of a repeat is the control `again`; the
    other controls count as in order."""
    calls = []
    for start in range(0, len(next(iter(outcomes.values()))), LEAST_SEEDS):
        a, b, c = (made[start : start + LEAST_SEEDS] for made in outcomes.values())
        for first, second, third in ((a, b, c), (b, c, a), (c, a, b)):
            again = abs(of_seeds(metric, first).mean() - of_seeds(metric, third).mean())
            calls.append(compare(metric, first, second, Controls(again=float(again), faults=())).better is not None)
    return {"pairs": len(calls), "called better": sum(calls)}


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
