"""FG-CLIP and FG-CLIP 2, without regions: a JSON list of an image's path, its long and its short caption.

Read by 360CVGroup/FG-CLIP, fgclip/train/train_fgclip.py (branch v1.0) and fgclip2/train/train_fgclip2.py (main),
LazySupervisedBboxDataset: `f_path` is a file below --image_folder, "a photo of " is put before `short_caption`; both
texts and the path have to be strings. `bbox_info` is read under --add_box_loss and --use_hard_neg only, which are off
unless given (scripts/train.sh gives them): that is the first stage of its training, captions of whole images. A record
without boxes ends a run with these flags, so none pretends to have some. A key `is_cn`, whatever its value, makes
FG-CLIP 2 take the text for Chinese; it is never written.
"""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from recaption.export.base import Exported, Options, begin, described, one_text, records, refuse_shard_size, turned
from recaption.export.dataset import Dataset
from recaption.export.json_list import is_relative, read_lists, repeated, write_list
from recaption.io import files
from recaption.problems import Problem

WRITES: Final = "one JSON: f_path (KEY.jpg), caption, short_caption; no regions"
READ_BY: Final = "FG-CLIP and FG-CLIP 2, first stage"
TEXTS: Final = {"caption": "long", "short_caption": "short"}
FILE: Final = "fg_clip.json"
READ_BOXES: Final = 4  # of a sample; the rest is never looked at
NEGATIVES: Final = 10  # of a box that has any; the loss reshapes to one text and ten


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`."""
    sources = one_text(dataset, TEXTS, options)
    refuse_shard_size(options, FILE)
    store = begin(dataset, dest, options)
    left_out: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for record in records(dataset, options):
            texts = record.texts()
            missing = [generation for generation in sources.values() if not texts.get(generation, "").strip()]
            if missing:
                left_out[f"no text of {missing[0]}"] += 1
                continue
            yield {"f_path": f"{record.key}.jpg"} | {name: texts[of] for name, of in sources.items()}

    written = write_list(store, FILE, rows())
    path = shlex.quote(f"{files.absolute(dest).rstrip('/')}/{FILE}")
    flags = f"--data_path {path} --image_folder FOLDER --add_box_loss False --use_hard_neg False"
    notes = (described(sources), f"{flags}  # with the images, unpacked, as KEY.jpg", *turned(dataset))
    return Exported(samples=written, files=1, left_out=left_out, notes=notes)


def validate(path: str, *, loaders: int | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`; `loaders` does not matter. Files are held in memory, as they are in the trainer."""
    advice = "Write one JSON list of samples; a file called .jsonl is read as one list too"
    for file, rows in read_lists(path, (".json", ".jsonl"), advice):
        if isinstance(rows, Problem):
            yield rows
            continue
        for n, row in enumerate(rows):
            for what, todo, kind in _row_problems(row):
                yield Problem(where=f"{file}: sample {n}", what=what, advice=todo, kind=kind)
        boxed = sum("bbox_info" in row or "is_cn" in row for row in rows if isinstance(row, dict))
        if 0 < boxed < len(rows):
            yield Problem(
                where=file,
                what=f"{len(rows) - boxed:,} of {len(rows):,} samples have no bbox_info",
                advice="Leave --add_box_loss and --use_hard_neg off, or write bbox_info: [] there (KeyError)",
                kind="boxes here and there",
                severity="warning",
            )
        todo = "Give every image a path of its own, unless it is meant to be drawn more often"
        yield from repeated(file, rows, "f_path", todo)


def _row_problems(row: Any) -> Iterator[tuple[str, str, str]]:
    if not isinstance(row, dict):
        yield f"it is no object, but {type(row).__name__}", "Write an object a sample", "no object"
        return
    for name in TEXTS:
        if not isinstance(row.get(name), str):
            yield f"it has no string `{name}`", "Leave the sample out: it ends the training", "text missing"
        elif not row[name].strip():
            yield f"its {name} is empty", "Leave the sample out: there is nothing to learn from it", "empty text"
    image = row.get("f_path")
    if not is_relative(image):
        yield f"its f_path is {image!r}", "Write a path below --image_folder", "image is no relative path"
    if "is_cn" in row:
        if not row["is_cn"]:
            advice = "Remove the key: FG-CLIP 2 takes every text that has it for Chinese, also with false"
            yield f"is_cn is {row['is_cn']!r}", advice, "is_cn of no Chinese text"
        return  # no box of it is read
    boxes = row.get("bbox_info", [])
    if not isinstance(boxes, list):
        yield "its bbox_info is no list", "Write a list, empty where there are no boxes", "broken box"
        return
    for n, box in enumerate(boxes[:READ_BOXES]):
        for what, advice, kind in _box_problems(box):
            yield f"box {n}: {what}", advice, kind


def _box_problems(box: Any) -> Iterator[tuple[str, str, str]]:
    corners = box.get("bbox") if isinstance(box, dict) else None
    numbers = corners[:4] if isinstance(corners, list) else []
    if len(numbers) < 4 or not all(type(n) in (int, float) and math.isfinite(n) for n in numbers):
        yield "it has no bbox of four numbers", "Write x1, y1, x2, y2 as shares of width and height", "broken box"
        return
    if numbers[0] > numbers[2] or numbers[1] > numbers[3]:
        yield f"bbox {numbers} ends before it begins", "Swap the corners (ValueError)", "box the wrong way round"
    if min(numbers) < 0 or max(numbers) > 1:
        yield f"bbox {numbers} is outside 0 to 1", "Divide by width and height: it is scaled again", "box in pixels"
    missing = [name for name in ("short_expr", "long_expr") if not isinstance(box.get(name), str)]
    if missing:
        yield f"it has no string {', '.join(missing)}", "Write both: one is drawn", "box without text"
    if box.get("flag_short_neg") == 1:
        negatives = box.get("short_expr_negs")
        count = len(negatives) if isinstance(negatives, dict) else 0
        if count != NEGATIVES or not all(isinstance(text, str) for text in negatives.values()):
            advice = f"Write {NEGATIVES} of them, or flag_short_neg: 0; the loss reshapes to {NEGATIVES + 1} texts"
            yield f"{count} negatives", advice, "wrong number of negatives"
    elif "flag_short_neg" not in box:
        yield "it has no flag_short_neg", "Write 1 with ten short_expr_negs, else 0 (KeyError)", "box without flag"
