"""What `recaption probe` does: prepares arms, features and queries, trains, prints and writes probe.json."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console

import recaption
from recaption.errors import UserError
from recaption.formatting import duration
from recaption.probe import adaptors, report
from recaption.probe import demo as scenes_demo
from recaption.probe import outputs as of_outputs
from recaption.probe.arms import CONTROLS, CORRUPTED, Arm, changed, controls, corrupter
from recaption.probe.features import features_of
from recaption.probe.probe import Examination, Outcomes, Pictures, consistency, judge, run_all
from recaption.probe.runs import Run, Runs
from recaption.probe.scenes import Scenes
from recaption.probe.settings import Training, identity

_DEMO_FOLDER: Final = Path("out/probe-demo")


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of both forms of the command."""

    training: Training = field(default_factory=Training)
    seeds: int = 5
    images: int = 50_000
    folder: Path | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """What outputs are compared by."""

    queries: Sequence[str]
    query_images: Path | None
    policies: Sequence[str]
    encoder: str


def demo(
    options: Options, console: Console, progress: Console, *, as_json: bool = False, scenes: Scenes | None = None
) -> int:
    """The probe on scenes. Returns 1 if it does not find what is known about them."""
    of = scenes or Scenes()
    started = time.monotonic()
    folder = options.folder or _DEMO_FOLDER
    about: dict[str, Any] = {"kind": "demo", "scenes": asdict(of), "policy": scenes_demo.POLICY}
    runs = _runs(folder, options, about)
    arms = scenes_demo.arms(of)
    progress.print(f"computing the features of {of.images + of.held_out:,} scenes")
    examined = scenes_demo.examination(of)
    beside = controls(arms[0], scenes_demo.records(of, CORRUPTED))
    outcomes = _train(arms, beside, scenes_demo.pictures(of), examined, options, runs, progress)
    names = [arm.name for arm in arms]
    judged = judge(outcomes, names, examined.queries, of.held_out)
    checked = scenes_demo.checks(judged)
    about |= {"checks": [asdict(one) for one in checked]}
    _write(folder, report.as_json(judged), about, options, names, runs, started)
    if as_json:
        print((folder / "probe.json").read_text("utf-8"), end="")
        return 0 if all(one.right for one in checked) else 1
    report.show(judged, names, options.seeds, console)
    console.print()
    for one in checked:
        console.print(f"{'ok' if one.right else 'FAILED'}: {one.text}", markup=False, soft_wrap=True)
    _end(folder, started, console)
    return 0 if all(one.right for one in checked) else 1


def outputs(
    outs: Sequence[str],
    compared: Compared,
    options: Options,
    console: Console,
    progress: Console,
    *,
    as_json: bool = False,
) -> int:
    """The probe on outputs: with queries, verdicts; without, how well each arm finds held-out images by each arm's own
    texts. Raises UserError for input that cannot be compared."""
    started = time.monotonic()
    asked = [one for given in compared.queries for one in adaptors.load(given, compared.query_images)] or None
    policies = list(dict.fromkeys(compared.policies)) or ["weighted:k=4,p_raw=0.1"]
    sets = [of_outputs.open_set(out) for out in dict.fromkeys(outs)]
    asked = None if asked is None else of_outputs.resolved(asked, sets[0])
    chosen = of_outputs.select(sets, None if asked is None else [one.image for one in asked], options.images)
    for name, number in chosen.left_out.items():
        if number:
            progress.print(f"{name}: {number:,} images that are not in all outputs are left out", markup=False)
    arms = of_outputs.arms(sets, policies, chosen.train)
    names = [arm.name for arm in arms]
    queries = of_outputs.own_queries(arms, sets, chosen.queries) if asked is None else asked
    position = {sha256: n for n, sha256 in enumerate(chosen.queries)}
    examined = Examination(queries=queries, images=[position[one.image] for one in queries])
    folder = options.folder or Path(outs[0], "probe")
    about: dict[str, Any] = {
        "kind": "outputs",
        "outputs": {one.name: of_outputs.digest(one.records.sha256, *chosen.train) for one in sets},
        "policies": policies,
        "encoder": compared.encoder,
        "queries": of_outputs.digest(*queries),
    }
    runs = _runs(folder, options, about)
    progress.print(f"computing the features of {len(chosen.train) + len(chosen.queries):,} images")
    pictures = Pictures(
        train=features_of(compared.encoder, sets[0], chosen.train),
        queries=features_of(compared.encoder, sets[0], chosen.queries),
    )
    beside = controls(arms[0], changed(arms[0].records, corrupter(CORRUPTED)))
    outcomes = _train(arms, beside, pictures, examined, options, runs, progress)
    if asked is None:
        found = consistency(outcomes, names, queries)
        _write(folder, [], about | {"consistency": found}, options, names, runs, started)
        show: Callable[[], None] = lambda: report.show_consistency(found, names, console)  # noqa: E731
    else:
        judged = judge(outcomes, names, queries, len(chosen.queries))
        _write(folder, report.as_json(judged), about, options, names, runs, started)
        show = lambda: report.show(judged, names, options.seeds, console)  # noqa: E731
    if as_json:
        print((folder / "probe.json").read_text("utf-8"), end="")
    else:
        show()
        _end(folder, started, console)
    return 0


def _runs(folder: Path, options: Options, about: Mapping[str, Any]) -> Runs:
    """The runs in `folder`. Their identity has everything but the number of seeds, so that more can be added."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder} cannot be made: {error.strerror}. Give --out DIR") from error
    return Runs(folder / "runs.parquet", identity(about=about, training=asdict(options.training)))


def _train(
    arms: Sequence[Arm],
    beside: Sequence[Arm],
    pictures: Pictures,
    examined: Examination,
    options: Options,
    runs: Runs,
    progress: Console,
) -> dict[str, Outcomes]:
    total, finished = (len(arms) + len(beside)) * options.seeds, 0

    def report_run(run: Run, resumed: bool) -> None:
        nonlocal finished
        finished += 1
        how = "from runs.parquet" if resumed else f"loss {run.loss:.3f}, {run.seconds:.1f} s"
        line = f"{finished}/{total}  seed {run.seed}  {run.arm}  {how}"
        progress.print(line, markup=False, soft_wrap=True)

    return run_all(
        arms,
        beside,
        pictures,
        examined,
        seeds=options.seeds,
        training=options.training,
        runs=runs,
        progress=report_run,
    )


def _write(
    folder: Path,
    results: Sequence[Any],
    about: Mapping[str, Any],
    options: Options,
    names: Sequence[str],
    runs: Runs,
    started: float,
) -> None:
    every = [run for name in (*names, *CONTROLS) for seed in range(options.seeds) if (run := runs.get(name, seed))]
    report.write_json(
        folder / "probe.json",
        {
            "recaption": recaption.__version__,
            **about,
            "training": asdict(options.training),
            "seeds": options.seeds,
            "arms": list(names),
            "controls": list(CONTROLS),
            "results": results,
            "runs": [{"arm": r.arm, "seed": r.seed, "loss": r.loss, "seconds": r.seconds} for r in every],
            "machine": {"processor": platform.processor() or platform.machine(), "system": platform.platform()},
            "seconds": round(time.monotonic() - started, 1),
        },
    )


def _end(folder: Path, started: float, console: Console) -> None:
    console.print()
    line = f"{folder / 'probe.json'}  {duration(time.monotonic() - started)}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
