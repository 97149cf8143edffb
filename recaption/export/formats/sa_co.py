"""SA-Co: a COCO file with a row for each pair of an image and a noun phrase, with the boxes of the phrase or none.

Read by facebookresearch/sam3, sam3/train/data/coco_json_loaders.py, SAM3_EVAL_API_FROM_JSON_NP (`text_input`,
`file_name`, and `queried_category` as an integer), and sam3/eval/cgf1_eval.py, which uses the rows with
`is_instance_exhaustive`; format: scripts/eval/gold/README.md, "Annotation format". A row of `images` that no annotation
names is a negative phrase. Boxes are x, y, width, height as shares of the image; there are no masks.

Negative phrases are frequent objects of the dataset with which no tag and no region of the image has a word in common.
The boxes of a model may miss instances, so rows with boxes are not marked as exhaustive.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from recaption.export.base import Exported, Finding, Options, described
from recaption.export.dataset import Dataset, Select
from recaption.export.formats.coco import Rows, coco_kind, coco_problems, lost_annotations, repeated_ids
from recaption.export.needs import BOX, REGIONS, only_table
from recaption.export.rows import ExportFiles, ExportSample, Made, Row, export_rows
from recaption.problems import Problem
from recaption.text import fold

FILE: Final = "sa_co.json"
WRITES: Final = "one COCO file with a row per image (KEY.jpg) and noun phrase, with boxes or as a negative"
READ_BY: Final = "SAM 3 (SA-Co)"
NEGATIVES: Final = 5  # negative phrases of an image, at most
FREQUENT: Final = 200  # objects from which negative phrases are chosen: those in the most images
_HEAD: Final = b'{"info": {"description": "recaption"}, "categories": [{"id": 1, "name": "object"}], '
_TAGS: Final = "tags"
_OF_TAGS: Final = Select(columns=("lemma", "kind"))


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. The tags are read twice: first to count the objects."""
    generation = only_table(dataset, options, REGIONS)
    frequent = _frequent(dataset)
    numbers: dict[str, int] = {}
    rows = Counter[bool]()

    def row(sample: ExportSample) -> Made | str:
        record = sample.record
        boxes: dict[str, list[list[float]]] = {}
        for region in sample.tables[REGIONS.table]:
            if not region["is_point"]:
                boxes.setdefault(fold(region["phrase"]), []).append([region[name] for name in BOX])
        if not boxes:
            return "no region"
        said = {row["lemma"] for row in sample.tables[_TAGS]} | set(boxes)
        image = {"file_name": sample.image, "width": record.width, "height": record.height}
        made = []
        for phrase in (*boxes, *negatives(record.key, said, frequent)):
            found = boxes.get(phrase, [])
            exhaustive = {"is_instance_exhaustive": int(not found), "is_pixel_exhaustive": int(not found)}
            category = str(numbers.setdefault(phrase, len(numbers)))
            about = {**image, "text_input": phrase, "queried_category": category, **exhaustive}
            rows[bool(found)] += 1
            made.append((FILE, (about, [_annotation(box) for box in found])))
        return made

    layout = ExportFiles(
        kinds={FILE: partial(coco_kind, _HEAD)},
        notes=[described({REGIONS.table: generation})],
        tables={REGIONS.table: REGIONS.made_by(generation), _TAGS: _OF_TAGS},
        generations=(),
    )
    done = export_rows(dataset, dest, options, layout, row)
    counts = f"phrases with boxes: {rows[True]:,}; negative phrases: {rows[False]:,}"
    return replace(done, notes=(*done.notes, counts))


def _frequent(dataset: Dataset) -> Sequence[str]:
    """The objects that the captions of most images name, most frequent first."""
    images = Counter[str]()
    for shard in dataset.shards:
        for rows in dataset.table_rows(shard, _TAGS, _OF_TAGS).values():
            images.update({row["lemma"] for row in rows if row["kind"] == "object"})
    return sorted(images, key=lambda lemma: (-images[lemma], lemma))[:FREQUENT]


def negatives(key: str, said: set[str], frequent: Sequence[str]) -> list[str]:
    """Objects that share no word with texts about the image. They differ between images, but not between exports."""
    words = {word for text in said for word in text.lower().split()}
    absent = (lemma for lemma in frequent if words.isdisjoint(lemma.lower().split()))
    return sorted(absent, key=lambda lemma: hashlib.sha256(f"{key} {lemma}".encode()).digest())[:NEGATIVES]


def _annotation(box: Sequence[float]) -> Row:
    x0, y0, x1, y1 = box
    wide, high = x1 - x0, y1 - y0
    return {"bbox": [x0, y0, wide, high], "area": wide * high, "category_id": 1, "iscrowd": 0, "source": "recaption"}


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. The file is read into memory, as in its readers."""
    yield from coco_problems(path, _findings, images)


def _findings(rows: Rows, annotations: Rows) -> Iterator[Finding]:
    yield from _row_findings(rows)
    yield from lost_annotations(rows, annotations, "Add the row, or leave them out")
    if wrong := [row for row in annotations if not _is_box(row.get("bbox"))]:
        what = f"annotations without a box in [0, 1]: {len(wrong):,}, for example {wrong[0].get('bbox')}"
        yield what, "Write x, y, width and height as shares of the image", "broken box"
    if rows and {str(row.get("id")) for row in rows} <= {str(row.get("image_id")) for row in annotations}:
        yield "every phrase has boxes", "Add phrases of what is not in an image", "no negatives", "warning"


def _row_findings(rows: Rows) -> Iterator[Finding]:
    if repeated := repeated_ids(rows):
        yield f"the id {repeated[0]} is repeated", "Give each pair of image and phrase its own id", "repeated id"
    if without := sum(not isinstance(row.get("text_input"), str) or not row["text_input"].strip() for row in rows):
        yield f"rows without text_input: {without:,}", "Write the noun phrase (KeyError)", "no phrase"
    if without := sum(not str(row.get("queried_category", "")).isdigit() for row in rows):
        yield (
            f"rows without a number in queried_category: {without:,}",
            "Write its digits (ValueError)",
            "no number",
        )
    if without := sum(row.get("is_instance_exhaustive") not in (0, 1) for row in rows):
        yield f"rows without is_instance_exhaustive: {without:,}", "Write 0 or 1 (KeyError)", "no flag"
    pairs = Counter((str(row.get("file_name")), str(row.get("text_input"))) for row in rows)
    if pairs and (most := pairs.most_common(1)[0])[1] > 1:
        yield f"{most[0][0]} has {most[0][1]!r} {most[1]} times", "Write one row, with all boxes", "repeated phrase"


def _is_box(box: Any) -> bool:
    if not isinstance(box, list) or len(box) != 4 or any(type(number) not in (int, float) for number in box):
        return False
    x, y, wide, high = box
    return bool(min(x, y) >= 0 and min(wide, high) > 0 and max(x + wide, y + high) <= 1 + 1e-6)
