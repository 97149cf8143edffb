"""Runs `recaption probe`: prepares arms, features and queries, trains, prints the results and writes probe.json."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

from PIL import Image
from rich.console import Console

import recaption
from recaption.errors import Faults, UserError
from recaption.formatting import duration
from recaption.io.files import is_url
from recaption.output.paths import PROBE, PROBE_PLOT, PROBE_RESULT, PROBE_RUNS
from recaption.probe import adaptors, report
from recaption.probe import demo as scenes_demo
from recaption.probe import outputs as of_outputs
from recaption.probe.arms import CONTROLS, CORRUPTED, Arm, changed, controls, corrupter
from recaption.probe.encoders import text_encoder
from recaption.probe.exporting import export
from recaption.probe.features import check_encoder, features_of
from recaption.probe.pictures import PictureFile, Pictures, write_features, write_pixels
from recaption.probe.plot import dot_plot
from recaption.probe.probe import Judged, Outcomes, by_name, consistency, judge, run_all
from recaption.probe.queries import Examination, Query
from recaption.probe.runs import Run, Runs
from recaption.probe.scenes import Scenes
from recaption.probe.scratch import Scratch
from recaption.probe.settings import Training, identity, parse_policy
from recaption.probe.workers import TRAINED, Work

_DEMO_FOLDER: Final = Path("out/probe-demo")
_POLICY: Final = "weighted:k=4,p_raw=0.1"
_OF_FEATURES: Final = ("encoder", "text")  # in `Prepared.about`; towers from scratch have neither


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """Options of both forms of the command."""

    training: Training = field(default_factory=Training)
    seeds: int = 5
    images: int = 50_000  # at most, to train on
    processes: int = 1
    scratch: Scratch | None = None  # both towers from scratch, instead of an encoder and a text tower
    folder: Path | None = None
    as_json: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """How outputs are compared."""

    queries: Sequence[str]
    query_images: Path | None
    policies: Sequence[str]
    encoder: str
    text: str = TRAINED


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """Everything that is known before the first run. `about`: what the results depend on besides the training."""

    arms: Sequence[Arm]
    control_arms: Sequence[Arm]
    pictures: Callable[[], Pictures]
    images: Callable[[], Iterable[Image.Image]]  # those to train on, then those of queries
    files: Callable[[], Iterable[tuple[str, bytes]]] = tuple  # name and bytes of each image to train on
    encoded: Mapping[str, Any]  # what the features and pixels of the images depend on
    numbers: tuple[int, int]  # of images to train on, and of images of queries
    text: str = TRAINED
    examined: Examination
    about: Mapping[str, Any]
    folder: Path

    @property
    def names(self) -> list[str]:
        return [arm.name for arm in self.arms]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def demo(options: Options, console: Console, progress: Console, *, scenes: Scenes | None = None) -> int:
    """The probe on scenes. Returns 1 if its results contradict what is known about the scenes."""
    started, of = time.monotonic(), scenes or Scenes()
    arms = scenes_demo.arms(of)
    prepared = Prepared(
        arms=arms,
        control_arms=controls(arms[0], scenes_demo.records(of, CORRUPTED)),
        pictures=lambda: scenes_demo.pictures(of),
        images=lambda: scenes_demo.images(of),
        encoded={"scenes": asdict(of)},
        numbers=(of.images, of.held_out),
        examined=scenes_demo.examination(of),
        about={"kind": "demo", "scenes": asdict(of), "policy": scenes_demo.POLICY},
        folder=options.folder or _DEMO_FOLDER,
    )
    outcomes, runs = _trained(prepared, options, progress)
    judged = judge(outcomes, prepared.names, prepared.examined.queries, of.held_out)
    checked = scenes_demo.checks(judged)
    content = {**_results(judged, options), "checks": [asdict(one) for one in checked], "runs": runs}
    _write(prepared, options, content, dot_plot(judged, prepared.names), started)
    if options.as_json:
        _print_json(prepared)
    else:
        report.show(judged, prepared.names, options.seeds, console)
        console.print()
        for one in checked:
            console.print(f"{'ok' if one.right else 'FAILED'}: {one.text}", markup=False, soft_wrap=True)
        _end(prepared, started, console)
    return 0 if all(one.right for one in checked) else 1


def outputs(outs: Sequence[str], compared: Compared, options: Options, console: Console, progress: Console) -> int:
    """The probe on outputs. With queries, it gives verdicts. Without, it measures how well each arm finds held-out
    images by the texts of each arm. Raises UserError for input that cannot be compared."""
    if options.folder is None and is_url(outs[0]):
        raise UserError(f"{outs[0]} is a URL; give --out DIR, a folder for the results")
    started = time.monotonic()
    prepared = _of_outputs(outs, compared, options, progress)
    outcomes, runs = _trained(prepared, options, progress)
    queries, names = prepared.examined.queries, prepared.names
    if compared.queries:
        judged = judge(outcomes, names, queries, len(set(prepared.examined.images)))
        _write(prepared, options, {**_results(judged, options), "runs": runs}, dot_plot(judged, names), started)
    else:
        found = consistency(outcomes, names, queries)
        _write(prepared, options, {"consistency": found, "runs": runs}, None, started)
    if options.as_json:
        _print_json(prepared)
        return 0
    if compared.queries:
        report.show(judged, names, options.seeds, console)
    else:
        report.show_consistency(found, names, console)
    _end(prepared, started, console)
    return 0


def export_arms(outs: Sequence[str], compared: Compared, options: Options, folder: Path, progress: Console) -> int:
    """Write the arms for a trainer of one's own, instead of training. Without held-out images, all are exported. Raises
    UserError as `outputs` does."""
    prepared = _of_outputs(outs, compared, options, progress, with_queries=False)
    arms = by_name([*prepared.arms, *prepared.control_arms])
    script = export(arms, prepared.files(), folder, options.seeds, options.training)
    progress.print(f"sh {script}", markup=False, soft_wrap=True)
    return 0


def _of_outputs(
    outs: Sequence[str], compared: Compared, options: Options, progress: Console, *, with_queries: bool = True
) -> Prepared:
    """`with_queries`: without `--queries`, the held-out images become the images of queries, and there must be some."""
    policies = list(dict.fromkeys(compared.policies)) or [_POLICY]
    outs = list(dict.fromkeys(outs))
    encodes = with_queries and options.scratch is None
    asked = _checked(outs, compared, policies, encodes=encodes)
    sets = [of_outputs.open_set(out) for out in outs]
    for line in of_outputs.check_policies(sets, compared.policies):  # without --policy, raw captions may be missing
        progress.print(line, markup=False, soft_wrap=True)
    asked = of_outputs.resolved(asked, sets[0])
    named = [one.image for one in asked]
    chosen = of_outputs.select(sets, None if with_queries and not named else named, options.images)
    for name, number in chosen.left_out.items():
        if number:
            line = f"{name}: images left out because they are not in all outputs: {number:,}"
            progress.print(line, markup=False, soft_wrap=True)
    arms = of_outputs.arms(sets, policies, chosen.train)
    queries = asked or of_outputs.own_queries(arms, sets, chosen.queries)
    position = {sha256: n for n, sha256 in enumerate(chosen.queries)}
    return Prepared(
        arms=arms,
        control_arms=controls(arms[0], changed(arms[0].records, corrupter(CORRUPTED))),
        pictures=lambda: Pictures(
            train=features_of(compared.encoder, sets[0], of_outputs.texts(chosen.train)),
            queries=features_of(compared.encoder, sets[0], chosen.queries),
        ),
        images=lambda: map(sets[0].image, chain(of_outputs.texts(chosen.train), chosen.queries)),
        files=lambda: map(sets[0].file, of_outputs.texts(chosen.train)),
        encoded={
            "encoder": compared.encoder,
            "images": of_outputs.digest(chain(of_outputs.texts(chosen.train), [""], chosen.queries)),
        },
        numbers=(len(chosen.train), len(chosen.queries)),
        text=compared.text,
        examined=Examination(queries=queries, images=[position[one.image] for one in queries]),
        about={
            "kind": "outputs",
            "outputs": {
                one.name: of_outputs.digest(chain([one.records.sha256], of_outputs.texts(chosen.train))) for one in sets
            },
            "images": {"train": len(chosen.train), "queries": len(chosen.queries), "left_out": dict(chosen.left_out)},
            "policies": policies,
            "encoder": compared.encoder,
            "text": compared.text,
            "queries": {"given": list(compared.queries), "number": len(queries), "sha256": of_outputs.digest(queries)},
        },
        folder=options.folder or Path(outs[0], PROBE),
    )


def _checked(outs: Sequence[str], compared: Compared, policies: Sequence[str], *, encodes: bool) -> list[Query]:
    """The queries of the user. Raises UserError, which lists all wrong options, before the outputs are read.

    `encodes`: the encoder is used, so it is loaded.
    """
    faults = Faults()
    for out in outs:
        faults.tried(of_outputs.open_datasets, out)
    for policy in policies:
        faults.tried(parse_policy, policy)
    if encodes:
        faults.tried(check_encoder, compared.encoder)
    if compared.text != TRAINED:
        faults.tried(text_encoder, compared.text)
    found = [faults.tried(adaptors.load, given, compared.query_images) for given in compared.queries]
    if faults.errors:
        raise UserError("\n".join(map(str, faults.errors)))
    return [query for queries in found for query in queries or ()]


def _trained(
    prepared: Prepared, options: Options, progress: Console
) -> tuple[dict[str, Outcomes], list[dict[str, Any]]]:
    """All outcomes, and the loss and time of each run for probe.json. Raises UserError if the folder has runs of
    another identity. The number of seeds is not part of the identity, so that seeds can be added."""
    try:
        prepared.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{prepared.folder} cannot be made: {error.strerror}. Give --out DIR") from error
    training, scratch = options.training, options.scratch
    arms = by_name([*prepared.arms, *prepared.control_arms])
    settings = {"training": asdict(training)} | ({"scratch": asdict(scratch)} if scratch else {})
    runs = Runs(prepared.folder / PROBE_RUNS, identity(about=prepared.about, **settings))
    kind = f"pixels-{scratch.side}" if scratch else "features"
    pictures = PictureFile(
        path=prepared.folder / f"{kind}-{identity(encoded=prepared.encoded)[:16]}.npy", train=prepared.numbers[0]
    )
    work = Work(
        arms=arms,
        pictures=pictures,
        examined=prepared.examined,
        training=training,
        text=prepared.text,
        scratch=scratch,
    )
    total, finished = len(arms) * options.seeds, 0

    def finish(run: Run, resumed: bool) -> None:
        nonlocal finished
        finished += 1
        how = "from runs.parquet" if resumed else f"loss {run.loss:.3f}, {run.seconds:.1f} s"
        progress.print(f"{finished}/{total}  seed {run.seed}  {run.arm}  {how}", markup=False, soft_wrap=True)

    def write(path: Path) -> None:
        progress.print(f"computing the {'pixels' if scratch else 'features'} of the images")
        if scratch:
            write_pixels(path, prepared.images(), sum(prepared.numbers), scratch.side)
        else:
            write_features(path, prepared.pictures())

    if any(runs.get(name, seed) is None for name in arms for seed in range(options.seeds)):
        pictures.ensure(write)
    outcomes = run_all(work, seeds=options.seeds, runs=runs, processes=options.processes, progress=finish)
    found = [run for seed in range(options.seeds) for name in arms if (run := runs.get(name, seed))]
    return outcomes, [{"arm": r.arm, "seed": r.seed, "loss": r.loss, "seconds": r.seconds} for r in found]


def _results(judged: Sequence[Judged], options: Options) -> dict[str, Any]:
    return {"results": report.as_json(judged), "verdicts": report.verdicts(judged, options.seeds)}


def _write(prepared: Prepared, options: Options, results: Mapping[str, Any], plot: str | None, started: float) -> None:
    """probe.json and, with verdicts, probe.svg."""
    content = {
        "recaption": recaption.__version__,
        **{name: value for name, value in prepared.about.items() if not (options.scratch and name in _OF_FEATURES)},
        "training": asdict(options.training),
        **({"scratch": asdict(options.scratch)} if options.scratch else {}),
        "seeds": options.seeds,
        "arms": prepared.names,
        "controls": list(CONTROLS),
        **results,
        "machine": {"processor": platform.processor() or platform.machine(), "system": platform.platform()},
        "seconds": round(time.monotonic() - started, 1),
    }
    report.write(prepared.folder / PROBE_RESULT, json.dumps(content, indent=2, allow_nan=False) + "\n")
    if plot is not None:
        report.write(prepared.folder / PROBE_PLOT, plot)


def _print_json(prepared: Prepared) -> None:
    print((prepared.folder / PROBE_RESULT).read_text("utf-8"), end="")


def _end(prepared: Prepared, started: float, console: Console) -> None:
    line = f"{prepared.folder / PROBE_RESULT}  {duration(time.monotonic() - started)}"
    console.print(f"\n{line}", markup=False, highlight=False, soft_wrap=True)
