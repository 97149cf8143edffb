"""FG-CLIP and FG-CLIP 2, without regions: a JSON list with the path, long caption and short caption of each image.

Read by 360CVGroup/FG-CLIP, fgclip/train/train_fgclip.py (branch v1.0) and fgclip2/train/train_fgclip2.py (main),
LazySupervisedBboxDataset: `f_path` is a file below --image_folder, "a photo of " is put before `short_caption`; both
texts and the path must be strings. `bbox_info` is read only with --add_box_loss or --use_hard_neg, which are off by
default (scripts/train.sh sets them): without them it is the first stage of its training, with captions of whole images.
With these flags a record without boxes ends the run. A key `is_cn` with any value makes FG-CLIP 2 process the text as
Chinese, so it is never written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from recaption.export.base import Exported, Finding, Options, is_relative, one_text
from recaption.export.dataset import Dataset
from recaption.export.json_list import Row, export_list, list_problems, repeated
from recaption.problems import Problem
from recaption.types import Record

WRITES: Final = "one JSON file with f_path (KEY.jpg), caption, short_caption; no regions"
READ_BY: Final = "FG-CLIP and FG-CLIP 2, first stage"
TEXTS: Final = {"caption": "long", "short_caption": "short"}
FILE: Final = "fg_clip.json"
READ_BOXES: Final = 4  # boxes of a sample; FG-CLIP ignores the others
NEGATIVES: Final = 10  # texts per box with negatives: the loss reshapes to one text and ten negatives


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`."""
    sources = one_text(dataset, TEXTS, options)

    def row(record: Record) -> Row | str:
        texts = record.texts()
        missing = [generation for generation in sources.values() if not texts.get(generation, "").strip()]
        if missing:
            return f"no text of {missing[0]}"
        return {"f_path": f"{record.key}.jpg"} | {name: texts[of] for name, of in sources.items()}

    return export_list(
        dataset,
        dest,
        options,
        file=FILE,
        sources=sources,
        row=row,
        program="FG-CLIP (main of 2026-06)",
        arguments="--data_path {path} --image_folder FOLDER --add_box_loss False --use_hard_neg False",
    )


def validate(path: str, *, loaders: int | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`; `loaders` is not used. Files are read into memory, as in the trainer."""
    advice = "Write one JSON list of samples; a .jsonl file is also read as one list"
    yield from list_problems(path, (".json", ".jsonl"), advice, _row_findings, _file_findings)


def _file_findings(rows: list[Any]) -> Iterator[Finding]:
    boxed = sum("bbox_info" in row or "is_cn" in row for row in rows if isinstance(row, dict))
    if 0 < boxed < len(rows):
        what = f"{len(rows) - boxed:,} of {len(rows):,} samples have no bbox_info"
        advice = "Do not set --add_box_loss and --use_hard_neg, or write bbox_info: [] there (KeyError)"
        yield what, advice, "some samples without boxes", "warning"
    yield from repeated(rows, "f_path", "Use each path once, unless its image is to be drawn more often")


def _row_findings(row: Any) -> Iterator[Finding]:
    if not isinstance(row, dict):
        yield f"it is not an object, but {type(row).__name__}", "Write one object per sample", "not an object"
        return
    for name in TEXTS:
        if not isinstance(row.get(name), str):
            yield f"it has no string `{name}`", "Leave the sample out: it ends the training", "missing text"
        elif not row[name].strip():
            yield f"its {name} is empty", "Leave the sample out", "empty text"
    image = row.get("f_path")
    if not is_relative(image):
        yield f"its f_path is {image!r}", "Write a path below --image_folder", "image is not a relative path"
    if "is_cn" in row:
        if not row["is_cn"]:
            advice = "Remove the key: FG-CLIP 2 processes the text as Chinese, even if the value is false"
            yield f"is_cn is {row['is_cn']!r}", advice, "is_cn of a text that is not Chinese"
        return  # its boxes are not read
    boxes = row.get("bbox_info", [])
    if not isinstance(boxes, list):
        yield "its bbox_info is not a list", "Write a list, [] if there are no boxes", "broken box"
        return
    for n, box in enumerate(boxes[:READ_BOXES]):
        for what, advice, kind, *_ in _box_findings(box):
            yield f"box {n}: {what}", advice, kind


def _box_findings(box: Any) -> Iterator[Finding]:
    corners = box.get("bbox") if isinstance(box, dict) else None
    numbers = corners[:4] if isinstance(corners, list) else []
    if len(numbers) < 4 or not all(type(n) in (int, float) and math.isfinite(n) for n in numbers):
        yield "it has no bbox of four numbers", "Write x1, y1, x2, y2 as shares of width and height", "broken box"
        return
    if numbers[0] > numbers[2] or numbers[1] > numbers[3]:
        yield f"bbox {numbers} ends before it begins", "Swap the corners (ValueError)", "swapped corners"
    if min(numbers) < 0 or max(numbers) > 1:
        yield f"bbox {numbers} is outside 0 to 1", "Divide by width and height: the trainer scales it", "box in pixels"
    missing = [name for name in ("short_expr", "long_expr") if not isinstance(box.get(name), str)]
    if missing:
        yield f"it has no string {', '.join(missing)}", "Write both: the trainer draws one of them", "box without text"
    if box.get("flag_short_neg") == 1:
        negatives = box.get("short_expr_negs")
        count = len(negatives) if isinstance(negatives, dict) else 0
        if count != NEGATIVES or not all(isinstance(text, str) for text in negatives.values()):
            advice = f"Write {NEGATIVES} of them, or flag_short_neg: 0; the loss reshapes to {NEGATIVES + 1} texts"
            yield f"{count} negatives", advice, "wrong number of negatives"
    elif "flag_short_neg" not in box:
        yield "it has no flag_short_neg", "Write 1 with ten short_expr_negs, otherwise 0 (KeyError)", "box without flag"
