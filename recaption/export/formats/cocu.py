"""CoCu: tars whose `.txt` has three lines: a caption, its concepts with scores, and clusters of concepts.

Read by xing0047/rewrite, datasets/builder.py, WordAugTokenizeWrapper: `text.split("\\n")` has to give three parts; the
first three keys of the second line, a JSON object, are put into templates ("a photo of a {}"). The third line, an
object of such objects, is read with kmeans_sampling only, which is off. Images are jpg, png or jpeg; a sample that
cannot be read is skipped with a warning.

CoCu itself also uses concepts of similar images. This exporter writes those of the caption only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from recaption.export.base import Exported, Finding, Options, described, one_text, refuse_fill
from recaption.export.dataset import Dataset
from recaption.export.needs import SCORES, required, required_tables, texts_only
from recaption.export.rows import ExportSample
from recaption.export.tars import Found, Members, export_samples, loading_limit, problems_in
from recaption.formatting import number_of
from recaption.problems import Problem
from recaption.text import fold

WRITES: Final = "tars with image, txt (caption, concepts with scores, clusters; a line each); sizes.json"
READ_BY: Final = "CoCu"
TEXTS: Final = {"caption": "long"}
TABLE: Final = "concepts"
LONGEST: Final = 4  # words of a concept
READ: Final = ("jpg", "png", "jpeg")
_DETERMINERS: Final = ("a ", "an ", "the ", "some ", "its ", "their ", "his ", "her ")


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. A concept has the score of its object, or else of the sub-caption that names it."""
    refuse_fill(options)
    generation = required(dataset, options, SCORES)
    tables = {**required_tables(dataset, TABLE), SCORES.table: SCORES.made_by(generation)}
    (source,) = one_text(dataset, TEXTS, texts_only(options, SCORES)).values()

    def members(sample: ExportSample) -> Members | str:
        caption = sample.caption(source)
        text = "" if caption is None else fold(caption.text)
        if caption is None or not text:
            return f"no text of {source}"
        concepts = scored(sample, caption.caption_id)
        if not concepts:
            return "no concept with a score"
        lines = (text.encode(), orjson.dumps(concepts), orjson.dumps({"0": concepts}))
        return (("txt", b"\n".join(lines)),)

    done = export_samples(dataset, dest, options, members, tables=tables, generations={source}, jpeg=True)
    return replace(done, notes=(described({"caption": source, SCORES.table: generation}), loading_limit(done)))


def scored(sample: ExportSample, caption_id: str) -> Mapping[str, float]:
    """The noun phrases of a caption without determiners, with their scores, best first."""
    scores: dict[tuple[str, str | None], float] = {}
    for row in sample.tables[SCORES.table]:
        if row["sub_id"] is not None:
            scores[row["sub_id"], row["object"]] = row["score"]
    made: dict[str, float] = {}
    for row in sample.tables[TABLE]:
        if row["caption_id"] != caption_id or row["kind"] != "noun_phrase":
            continue
        phrase = fold(row["text"]).lower()
        phrase = next((phrase.removeprefix(word) for word in _DETERMINERS if phrase.startswith(word)), phrase)
        score = scores.get((row["sub_id"], phrase.split()[-1]), scores.get((row["sub_id"], None)))
        if score is not None and len(phrase.split()) <= LONGEST:
            made[phrase] = max(score, made.get(phrase, score))
    return dict(sorted(made.items(), key=lambda item: -item[1]))


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`."""
    yield from problems_in(path, _sample_findings, loaders=loaders)


def _sample_findings(found: Found) -> Iterator[Finding]:
    if "txt" not in found.suffixes or not any(suffix in READ for suffix in found.suffixes):
        what = f"the sample has {', '.join(found.suffixes)}; it needs txt and one of {', '.join(READ)}"
        yield what, "CoCu skips such samples; write both members next to each other", "incomplete sample"
        return
    lines = found.texts["txt"].decode(errors="replace").split("\n")
    if len(lines) != 3:
        advice = "Write a caption in one line, then two lines of JSON, without a line end behind them"
        yield f"its txt has {number_of(len(lines), 'line')}", advice, "wrong number of lines"
        return
    if not lines[0].strip():
        yield "its caption is empty", "Leave the sample out", "empty text"
    concepts = _json(lines[1])
    if not isinstance(concepts, dict) or not all(isinstance(score, float | int) for score in concepts.values()):
        yield (
            "its second line is not an object of concepts with scores",
            "Write JSON: {concept: score}",
            "broken concepts",
        )
    elif not concepts:
        yield "it has no concepts", "Its caption is used instead; leave the sample out", "no concepts", "warning"
    if not isinstance(_json(lines[2]), dict):
        yield "its third line is not an object", "Write JSON: {cluster: {concept: score}}", "broken clusters"


def _json(line: str) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
