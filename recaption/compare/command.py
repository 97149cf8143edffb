"""Runs `recaption compare`: writes the source of the run, runs the judge's pipeline, and evaluates its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson

import recaption
from recaption.compare.pairs import Pairs, select, write_source
from recaption.compare.result import Comparison, Judged, compared, lines
from recaption.config import Pipeline
from recaption.errors import UserError
from recaption.formatting import number_of
from recaption.inspect.connection import open_outputs
from recaption.inspect.paths import find
from recaption.inspect.sql import fetch, fetch_rows
from recaption.inspect.stoppable import closing
from recaption.io.store import file_in_place, open_store
from recaption.output.paths import COMPARISON
from recaption.progress import Display
from recaption.run.check import load_checked
from recaption.run.job import run

_TASK: Final = "compare"
_ROWS: Final = "SELECT winner, p_a_first, p_b_first, words_a, words_b FROM comparisons WHERE generation = $generation"
_REJECTS: Final = (
    "SELECT reason, count(*) FROM rejects WHERE generation = $generation GROUP BY reason ORDER BY 2 DESC, 1"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """How two outputs are compared."""

    out: str
    pipeline: str = "judge"
    preset: str | None = None
    overrides: Sequence[str] = ()
    generations: tuple[str | None, str | None] = (None, None)
    images: int = 500
    takeover: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """A finished comparison: the pairs, and the judge's results for each generation of the pipeline."""

    pairs: Pairs
    judges: Mapping[str, Comparison]
    rejects: Mapping[str, Mapping[str, int]]  # by generation: rejected answers by reason
    names: tuple[str, str]


def compare(a: str, b: str, options: Options, display: Display) -> Result:
    """Judge a sample of the images of two outputs, and write `compare.json` into the output of the comparison.

    Stored answers are reused. The same command resumes the comparison. A larger sample, or another build of A or B,
    sends only requests about new pairs.

    Raises UserError for wrong input, and what `run` raises.
    """
    pairs = select(a, b, options.generations, options.images)
    store = open_store(options.out)
    if file := file_in_place(store):
        raise UserError(f"--out {options.out}: {file} is a file. Give a folder")
    for side in (pairs.a, pairs.b):
        if any(root.url == store.url for root in side.output.roots):
            raise UserError(
                f"--out {options.out} is the output {side.output.given}, which is compared. Give another folder"
            )
    pipeline, path = _pipeline(options, store.url)
    source = pipeline.source.model_copy(update={"path": write_source(pairs, store), "format": "parquet"})
    run(pipeline.model_copy(update={"source": source}), path, display, takeover=options.takeover)
    result = _result(pairs, options.out, [one.id for one in pipeline.generate if one.task == _TASK])
    store.put(COMPARISON, orjson.dumps(as_json(result), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return result


def _pipeline(options: Options, out: str) -> tuple[Pipeline, Path]:
    overrides = (*options.overrides, f"output.path={out}")
    pipeline, path = load_checked(options.pipeline, overrides, options.preset)
    if not any(one.task == _TASK for one in pipeline.generate):
        raise UserError(f"{path} has no generation with task: {_TASK}, which judges the captions. Add one")
    return pipeline, path


def _result(pairs: Pairs, out: str, generations: Sequence[str]) -> Result:
    judges, rejects = {}, {}
    with closing(open_outputs(find(out))) as connection:
        for id in generations:
            rows = [Judged(**vars(row)) for row in fetch_rows(connection, _ROWS, {"generation": id})]
            judges[id] = compared(id, rows, len(pairs.rows))
            rejects[id] = dict(fetch(connection, _REJECTS, {"generation": id}))
    return Result(pairs=pairs, judges=judges, rejects=rejects, names=_names(pairs))


def _names(pairs: Pairs) -> tuple[str, str]:
    """The names of the two sets: output names, generation names if the outputs have the same name, or both."""
    a, b = pairs.a, pairs.b
    if a.name == b.name:
        return a.generation, b.generation
    if a.generation == b.generation:
        return a.name, b.name
    return f"{a.name} {a.generation}", f"{b.name} {b.generation}"


def as_json(result: Result) -> dict[str, Any]:
    """The content of `compare.json`."""
    pairs = result.pairs
    sides = {
        letter: {"output": side.output.given, "generation": side.generation, "images": images}
        for letter, side, images in (("a", pairs.a, pairs.images_a), ("b", pairs.b, pairs.images_b))
    }
    return {
        "recaption": recaption.__version__,
        **sides,
        "images": {"common": pairs.common, "captioned": pairs.captioned, "sampled": len(pairs.rows)},
        "judges": {
            id: asdict(found) | {"better": found.verdict, "rejected_answers": result.rejects[id]}
            for id, found in result.judges.items()
        },
    }


def text(result: Result, out: str) -> list[str]:
    """The result as lines of text."""
    pairs, (a, b) = result.pairs, result.names
    made = [f"{a} and {b}: {number_of(pairs.common, 'image')} in common, {len(pairs.rows):,} of them compared"]
    for side, images in ((pairs.a, pairs.images_a), (pairs.b, pairs.images_b)):
        if images > pairs.common:
            made.append(f"  {number_of(images - pairs.common, 'image is', 'images are')} only in {side.output.given}")
    if pairs.captioned < pairs.common:
        made.append(f"  {number_of(pairs.common - pairs.captioned, 'image')} in common without one of the captions")
    for id, found in result.judges.items():
        made += ["", *lines(found, a, b)]
        rejected = ", ".join(f"{reason} {number:,}" for reason, number in result.rejects[id].items())
        made += [f"  rejected answers: {rejected}"] if rejected else []
    return [*made, "", f"{out.rstrip('/')}/{COMPARISON}"]
