"""FG-CLIP and FG-CLIP 2: a JSON list with the path, captions and boxes of each image.

Read by 360CVGroup/FG-CLIP, fgclip/train/train_fgclip.py (branch v1.0) and fgclip2/train/train_fgclip2.py (main),
LazySupervisedBboxDataset: `f_path` is a file below --image_folder, "a photo of " is put before `short_caption`; both
texts and the path must be strings. `bbox_info` is read only with --add_box_loss or --use_hard_neg, which are off by
default (scripts/train.sh sets them). Without them, the trainer runs its first stage, on captions of whole images.
With them, a record without this key ends the run. The first four boxes are read; a box with negatives has exactly
ten. A key `is_cn` with any value makes FG-CLIP 2 process the text as Chinese, so it is never written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from operator import itemgetter, methodcaller
from typing import Any, Final

from recaption.export.base import (
    OF_PARTS,
    Exported,
    Finding,
    Options,
    Usage,
    described,
    is_relative,
    lacking,
    one_text,
)
from recaption.export.dataset import SUB_CAPTIONS, Dataset, Rows, Select
from recaption.export.json_list import ListFormat, list_problems, repeated
from recaption.export.needs import BOX, NEGATIVES, REGIONS, absent, maker, texts_only
from recaption.export.rows import PLACE, ExportFiles, ExportSample, FileKind, Made, Row, export_rows, json_list, path_of
from recaption.formatting import number_of
from recaption.problems import Problem

WRITES: Final = "one JSON file with f_path (KEY.jpg), caption, short_caption; bbox_info if the build has regions"
READ_BY: Final = "FG-CLIP and FG-CLIP 2"
TEXTS: Final = {"caption": "long", "short_caption": "short"}
FILE: Final = "fg_clip.json"
NEEDS: Final = (REGIONS, NEGATIVES)
READ_BOXES: Final = 4  # boxes of a sample; FG-CLIP ignores the others
NEGATIVE_TEXTS: Final = 10  # texts per box with negatives: the loss reshapes to one text and ten negatives


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. With a table of regions, rows have boxes; boxes have negatives if there are ten."""
    arguments = f"--data_path {path_of(dest, FILE)} --image_folder {PLACE}"
    usage = Usage(program="FG-CLIP (v1.0, and main since 2025-10)", arguments=arguments)
    return export_boxes(dataset, dest, options, {FILE: json_list}, usage, lambda sample, row: [(FILE, row)])


def export_boxes(
    dataset: Dataset,
    dest: str,
    options: Options,
    kinds: Mapping[str, FileKind],
    usage: Usage,
    rows: Callable[[ExportSample, Row], Made | str],
    granularities: Collection[str] = (),
) -> Exported:
    """Write the rows that `rows` makes of a sample and its row. Adds the arguments of the stage to `usage`.

    `granularities` are those of other captions that `rows` reads.
    """
    makers = {need.table: found for need in NEEDS if (found := maker(dataset, options, need)) is not None}
    tables = {need.table: need.made_by(makers[need.table]) for need in NEEDS if need.table in makers}
    sources = one_text(dataset, TEXTS, texts_only(options, *NEEDS))
    boxed = REGIONS.table in tables
    hard = False  # a box has ten negatives

    def row(sample: ExportSample) -> Made | str:
        nonlocal hard
        texts = sample.record.texts()
        missing = [generation for generation in sources.values() if not texts.get(generation, "").strip()]
        if missing:
            return f"no text of {missing[0]}"
        made = {"f_path": sample.image} | {name: texts[of] for name, of in sources.items()}
        boxes = boxes_of(sample) if boxed else []
        hard = hard or any(box["flag_short_neg"] for box in boxes)
        return rows(sample, made | ({"bbox_info": boxes} if boxed else {}))

    notes = [described({**sources, **makers})]
    if len(tables) < len(NEEDS):
        lacking = next(need for need in NEEDS if need.table not in tables)
        notes.append(f"for the second stage, {absent(dataset, f'no {lacking.table}', lacking.generation)}")
    layout = ExportFiles(
        kinds=kinds,
        notes=notes,
        usage=(usage,),
        tables={**tables, SUB_CAPTIONS: Select(columns=("sub_id", "text"), named_in=[*tables])} if boxed else {},
        generations=set(sources.values()),
        granularities=(*granularities, *(OF_PARTS if boxed else ())),
    )
    done = export_rows(dataset, dest, options, layout, row)
    if boxed and NEGATIVES.table in tables and not hard:
        few = f"no box has {NEGATIVE_TEXTS} negatives, which the trainer needs: set a larger n for task: negatives"
        done = replace(done, notes=(*done.notes, few))
    stage = f" --add_box_loss {boxed} --use_hard_neg {hard}"
    return replace(done, usage=tuple(replace(one, arguments=one.arguments + stage) for one in done.usage))


def boxes_of(sample: ExportSample) -> list[Row]:
    """The boxes of a sample, in the order of their rank.

    `short_expr` and `long_expr` are the shortest and the longest caption of the region; without captions, its phrase
    and the sentence that names it. A text with ten negatives is the `short_expr` of its first box, because the trainer
    compares the negatives with `short_expr`. Texts are in lower case, because FG-CLIP 2 lower-cases only negatives.
    """
    captions = sorted((c for c in sample.record.captions if c.region_id), key=lambda caption: len(caption.text))
    sentences = {sub_id: _lower(text) for sub_id, text in sample.tables[SUB_CAPTIONS].values("sub_id", "text")}
    negatives: dict[str, list[str]] = {}
    for sub_id, text in sample.tables.get(NEGATIVES.table, Rows()).values("sub_id", "text"):
        negatives.setdefault(sub_id, []).append(text)
    made = []
    regions = sample.tables[REGIONS.table].values("rank", "is_point", "region_id", "sub_id", "phrase", "score", *BOX)
    for _, is_point, region_id, of, phrase, score, *corners in sorted(regions, key=itemgetter(0)):
        if is_point:
            continue
        own = [caption for caption in captions if caption.region_id == region_id]
        texts = [caption.text for caption in own] or [phrase, sentences.get(of, phrase)]
        box: Row = {"bbox": corners if score is None else [*corners, score]}
        box |= {"short_expr": _lower(texts[0]), "long_expr": _lower(texts[-1]), "flag_short_neg": 0}
        changed = [f"{caption.caption_id}#0" for caption in own] or [of]
        for sub_id in filter(sentences.__contains__, changed):
            false = list(dict.fromkeys(map(_lower, negatives.get(sub_id, ()))))
            false = [text for text in false if text != sentences[sub_id]][:NEGATIVE_TEXTS]
            if len(false) == NEGATIVE_TEXTS:
                del negatives[sub_id]
                box |= {"short_expr": sentences[sub_id], "flag_short_neg": 1}
                box["short_expr_negs"] = {str(n): negative for n, negative in enumerate(false)}
                break
        made.append(box)
    return made


def _lower(text: str) -> str:
    return " ".join(text.lower().split())


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`; `loaders` is not used. Files are read into memory, as in the trainer."""
    yield from list_problems(path, FORMAT, images)


def _file_findings(rows: list[Any]) -> Iterator[Finding]:
    boxed = sum("bbox_info" in row or "is_cn" in row for row in rows if isinstance(row, dict))
    if 0 < boxed < len(rows):
        what = f"of {number_of(len(rows), 'sample')}, {number_of(len(rows) - boxed, 'has', 'have')} no bbox_info"
        advice = "Do not set --add_box_loss and --use_hard_neg, or write bbox_info: [] there (KeyError)"
        yield what, advice, "some samples without boxes", "warning"
    flagged = sum(any(map(_has_negatives, row["bbox_info"][:READ_BOXES])) for row in rows if _has_boxes(row))
    if 0 < flagged * 10 < len(rows):
        what = f"of {number_of(len(rows), 'sample')}, {number_of(flagged, 'has', 'have')} a box with negatives"
        advice = "Do not set --use_hard_neg: FG-CLIP 1 ends at the first batch without such a box"
        yield what, advice, "few boxes with negatives", "warning"
    yield from repeated(rows, "f_path", "Use each path once, unless its image is to be drawn more often")


def _has_boxes(row: Any) -> bool:
    return isinstance(row, dict) and isinstance(row.get("bbox_info"), list)


def _has_negatives(box: Any) -> bool:
    return isinstance(box, dict) and box.get("flag_short_neg") == 1


def row_findings(row: Any) -> Iterator[Finding]:
    """The problems of a row."""
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
    missing = lacking(box, ("short_expr", "long_expr"))
    if missing:
        yield f"it has no string {', '.join(missing)}", "Write both: the trainer draws one of them", "box without text"
    if box.get("flag_short_neg") == 1:
        negatives = box.get("short_expr_negs")
        count = len(negatives) if isinstance(negatives, dict) else 0
        if count != NEGATIVE_TEXTS or not all(isinstance(text, str) for text in negatives.values()):
            advice = (
                f"Write {NEGATIVE_TEXTS} of them, or flag_short_neg: 0; the loss reshapes to {NEGATIVE_TEXTS + 1} texts"
            )
            yield number_of(count, "negative"), advice, "wrong number of negatives"
    elif "flag_short_neg" not in box:
        yield "it has no flag_short_neg", "Write 1 with ten short_expr_negs, otherwise 0 (KeyError)", "box without flag"


FORMAT: Final = ListFormat(
    check=row_findings,
    check_file=_file_findings,
    image=methodcaller("get", "f_path"),
    advice="Write one JSON list of samples; a .jsonl file is also read as one list",
    suffix=(".json", ".jsonl"),
)
