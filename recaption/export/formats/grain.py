"""GRAIN: a CSV with raw captions, a JSON object with long captions, and one with boxes.

Read by shaunak27/grain-clip, dataloaders/conceptual.py, ConceptualCaptions: the CSV has no header, and rows whose path
does not end in .jpg, .jpeg or .png are skipped; boxes are in pixels of an image that is scaled to 960 x 960; the five
with the highest scores are used. An empty list of boxes stops the training with an error, so images without boxes are
left out of the object. The published module never opens the images; the paths only join the three files.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import orjson

from recaption.errors import RecaptionError, UserError
from recaption.export.base import Exported, Finding, Options, described, found_in, one_text, refuse_fill, replaced_raw
from recaption.export.dataset import Dataset
from recaption.export.image_files import missing_images
from recaption.export.needs import REGIONS, required, texts_only
from recaption.export.rows import (
    PLACE,
    ExportFiles,
    ExportSample,
    Made,
    Row,
    csv_file,
    export_rows,
    json_object,
    path_of,
)
from recaption.formatting import number_of
from recaption.io import files
from recaption.problems import Problem
from recaption.text import fold

WRITES: Final = "captions_pooled.csv (KEY.jpg, raw caption), captions_cc12m_pooled.json, bboxes_cc12m_pooled.json"
READ_BY: Final = "GRAIN"
TEXTS: Final = {"caption": "raw", "mllm_caption": "long"}
CAPTIONS: Final = "captions_pooled.csv"
LONG: Final = "captions_cc12m_pooled.json"
BOXES: Final = "bboxes_cc12m_pooled.json"
SIDE: Final = 960  # pixels of the square image in which boxes are given
_SUFFIXES: Final = (".jpg", ".jpeg", ".png")


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. An image without a raw caption has its long one in the CSV."""
    refuse_fill(options)
    generation = required(dataset, options, REGIONS)
    sources = one_text(dataset, TEXTS, texts_only(options, REGIONS))

    replaced = 0

    def row(sample: ExportSample) -> Made | str:
        nonlocal replaced
        texts = sample.record.texts()
        raw, long = (fold(texts.get(sources[name], "")) for name in TEXTS)
        if not long:
            return f"no text of {sources['mllm_caption']}"
        replaced += not raw
        boxes = boxes_of(sample)
        made: list[tuple[str, Any]] = [(CAPTIONS, (sample.image, raw or long)), (LONG, (sample.image, long))]
        return [*made, (BOXES, (sample.image, boxes))] if boxes else made

    layout = ExportFiles(
        kinds={CAPTIONS: csv_file(), LONG: json_object, BOXES: json_object},
        notes=(described(sources), f"set data_dir to {path_of(dest)}; the paths are below {PLACE}"),
        tables={REGIONS.table: REGIONS.made_by(generation)},
        generations=set(sources.values()),
    )
    done = export_rows(dataset, dest, options, layout, row)
    text = f"caption of {sources['mllm_caption']}"
    return replace(done, notes=(*done.notes, *replaced_raw(CAPTIONS, text, replaced, done.samples)))


def boxes_of(sample: ExportSample) -> list[Row]:
    """The boxes of a sample. If the model gives no score, it is made from the rank, so that the order is kept."""
    return [
        {
            "description": fold(region["phrase"]),
            "bbox": [region[name] * SIDE for name in ("x0", "y0", "x1", "y1")],
            "score": region["score"] if region["score"] is not None else 1 / (1 + region["rank"]),
        }
        for region in sample.tables[REGIONS.table]
        if not region["is_point"]
    ]


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`: the folder with the three files."""
    folder = files.absolute(path).rstrip("/")
    if not files.is_folder(folder):
        raise UserError(f"cannot check {path}: it is not a folder. Give the folder with {CAPTIONS}, {LONG} and {BOXES}")
    paths: set[str] = set()
    table = f"{folder}/{CAPTIONS}"
    try:
        text = io.StringIO(files.read_all(table).decode(), newline="")
        for number, cells in enumerate(csv.reader(text, strict=True), 1):
            yield from found_in(f"{table}: row {number}", _row_findings(cells))
            paths.update(cells[:1])
    except (csv.Error, UnicodeDecodeError, RecaptionError) as error:
        yield from found_in(table, [(str(error), "Write UTF-8 with cells quoted by RFC 4180", "broken CSV")])
        return
    for name in (LONG, BOXES):
        yield from _object_problems(f"{folder}/{name}", paths)
    yield from found_in(table, missing_images(table, paths, images))


def _row_findings(cells: list[str]) -> Iterator[Finding]:
    if len(cells) != 2:
        yield number_of(len(cells), "cell"), "Write a path and a caption", "wrong number of cells"
        return
    if not cells[0].endswith(_SUFFIXES):
        advice = f"GRAIN silently skips it: write a path that ends in {', '.join(_SUFFIXES)}, and no header"
        yield f"its path is {cells[0]!r}", advice, "skipped row"
    if not cells[1].strip():
        yield "its caption is empty", "Leave the row out", "empty text"


def _object_problems(file: str, paths: set[str]) -> Iterator[Problem]:
    try:
        body = orjson.loads(files.read_all(file))
    except (orjson.JSONDecodeError, RecaptionError) as error:
        body = str(error)
    if not isinstance(body, dict):
        what = body if isinstance(body, str) else "it is not an object"
        yield from found_in(file, [(what, "Write one JSON object by path", "not a JSON object")])
        return
    check = _boxes_findings if file.endswith(BOXES) else _caption_findings
    for name, value in body.items():
        yield from found_in(f"{file}: {name}", check(value))
    unknown = [name for name in body if name not in paths]
    if unknown:
        what = f"paths not in {CAPTIONS}: {len(unknown):,} of {len(body):,}, for example {unknown[0]}"
        yield from found_in(file, [(what, "Use the paths of the CSV", "path is not in the CSV", "warning")])


def _caption_findings(value: Any) -> Iterator[Finding]:
    if not isinstance(value, str) or not value.strip():
        yield f"its caption is {value!r}", "Write a text, or leave the path out", "empty text"


def _boxes_findings(value: Any) -> Iterator[Finding]:
    if not isinstance(value, list) or not value:
        yield "it has no box", "Leave the path out: an empty list ends the training", "empty list of boxes"
        return
    for n, box in enumerate(value):
        for what, advice, kind, *_ in _box_findings(box):
            yield f"box {n}: {what}", advice, kind


def _box_findings(box: Any) -> Iterator[Finding]:
    corners = box.get("bbox") if isinstance(box, dict) else None
    if not isinstance(corners, list) or len(corners) != 4 or not all(map(_is_number, corners)):
        yield "its bbox does not have four numbers", "Write x1, y1, x2, y2 in pixels of 960 x 960", "broken box"
        return
    if not (0 <= corners[0] < corners[2] <= SIDE and 0 <= corners[1] < corners[3] <= SIDE):
        yield f"bbox {corners} has no area in {SIDE} x {SIDE}", f"Scale the image to {SIDE} x {SIDE}", "box outside"
    elif max(corners) <= 1:
        yield f"bbox {corners} is in shares of the image", f"Multiply by {SIDE}", "box is not in pixels"
    if not _is_number(box.get("score")):
        yield f"its score is {box.get('score')!r}", "Write a number: boxes are sorted by it", "no score"
    if not isinstance(box.get("description"), str) or not box["description"].strip():
        yield "it has no description", "Write a text", "empty text"


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
