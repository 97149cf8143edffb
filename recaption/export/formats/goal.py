"""GOAL: a JSON list with a caption and the segments of each image: a sentence of the caption, and a crop of the image.

Read by PerceptualAI-Lab/GOAL, goal_loss_finetuning.py, DLoader and train. Files are opened as they are named.
`segment` must not be empty; the loader uses its entry with the highest `similarity_score`. It looks up the `caption` of
this entry in `original_caption` with `str.find`; a text that does not occur there selects wrong tokens, without an
error.
`bbox_coordinates` are in pixels, and the loader divides them by `width` and `height` as if these were the size of the
image. LISM/make_bbox.py of that repository writes the size of the box, which selects wrong patches. This exporter
writes the size of the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from operator import itemgetter
from typing import Any, Final

from recaption.decode import crop_pixels
from recaption.errors import RequestError, UserError
from recaption.export.base import Exported, Finding, Options, Usage, described, lacking, one_text, refuse_fill
from recaption.export.dataset import SUB_CAPTIONS, Dataset, Select
from recaption.export.json_list import ListFormat, list_problems, repeated
from recaption.export.needs import REGIONS, required, texts_only
from recaption.export.rows import ExportFiles, ExportSample, Made, PixelBox, Row, export_rows, json_list, path_of
from recaption.problems import Problem
from recaption.types import ImageLimits

WRITES: Final = "one JSON file with original_caption and segments: a sentence, a crop (images/KEY.N.jpg) and its box"
READ_BY: Final = "GOAL"
TEXTS: Final = {"caption": "long"}
FILE: Final = "goal.json"
_CORNERS: Final = ("x1", "y1", "x2", "y2")


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. A segment is a region and the sentence that names it. Images are always written."""
    refuse_fill(options)
    if options.images not in (None, "jpg"):
        raise UserError(f"--images {options.images}: crops are new files; use --images jpg, or leave the option out")
    options = replace(options, images="jpg")
    regions = required(dataset, options, REGIONS)
    (generation,) = one_text(dataset, TEXTS, texts_only(options, REGIONS)).values()

    def row(sample: ExportSample) -> Made | str:
        caption = sample.caption(generation)
        boxes = _boxes(sample)
        if caption is None:
            return f"no text of {generation}"
        if not boxes:
            return f"no region of a sentence of {generation}"
        segments = [_segment(sample, boxes, region) for region in _regions(sample) if _name(sample, region) in boxes]
        line = {"original_filename": sample.path, "original_caption": caption.text, "segment": segments}
        return [(FILE, line)]

    layout = ExportFiles(
        kinds={FILE: json_list},
        notes=(described({"caption": generation, REGIONS.table: regions}),),
        usage=(Usage(program="GOAL (all versions, to main of 2025-03)", arguments=f"--dataset {path_of(dest, FILE)}"),),
        tables={
            REGIONS.table: REGIONS.made_by(regions),
            SUB_CAPTIONS: Select(columns=("sub_id", "text"), generations={generation}, named_in=(REGIONS.table,)),
        },
        generations={generation},
        crops=_boxes,
    )
    return export_rows(dataset, dest, options, layout, row)


def _regions(sample: ExportSample) -> list[Row]:
    """The regions of sentences of the caption, in the order of their rank."""
    named = {sub["sub_id"] for sub in sample.tables[SUB_CAPTIONS]}
    found = (dict(row) for row in sample.tables[REGIONS.table] if row["sub_id"] in named and not row["is_point"])
    return sorted(found, key=itemgetter("rank"))


def _name(sample: ExportSample, region: Row) -> str:
    """The file of a crop. Keys have no dot, so no image has this name."""
    return f"{sample.record.key}.{region['rank']}.jpg"


def _boxes(sample: ExportSample) -> dict[str, PixelBox]:
    """The crops by the names of their files, in pixels of the upright image; without those that cannot be cut out."""
    width, height = sample.record.width, sample.record.height
    made: dict[str, PixelBox] = {}
    for region in _regions(sample) if width and height else ():
        assert width and height
        try:
            box = crop_pixels((region["x0"], region["y0"], region["x1"], region["y1"]), width, height, ImageLimits())
        except RequestError:
            continue
        made[_name(sample, region)] = box
    return made


def _segment(sample: ExportSample, boxes: dict[str, PixelBox], region: Row) -> Row:
    texts = {sub["sub_id"]: sub["text"] for sub in sample.tables[SUB_CAPTIONS]}
    name = _name(sample, region)
    size = {"width": sample.record.width, "height": sample.record.height}
    return {
        "filename": f"{sample.path.removesuffix(sample.image)}{name}",
        "caption": texts[region["sub_id"]],
        "bbox_coordinates": {**dict(zip(_CORNERS, boxes[name], strict=True)), **size},
        "similarity_score": region["score"] if region["score"] is not None else 1 / (1 + region["rank"]),
    }


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. The file is read into memory, as in the trainer."""
    yield from list_problems(path, FORMAT, images)


def _file_findings(rows: list[Any]) -> Iterator[Finding]:
    yield from repeated(rows, "original_filename", "Write one row per image")


def _row_findings(row: Any) -> Iterator[Finding]:
    missing = lacking(row, ("original_filename", "original_caption"))
    if missing:
        yield f"it has no string {', '.join(missing)}", "Write both (KeyError)", "missing text"
        return
    segments = row.get("segment")
    if not isinstance(segments, list) or not segments:
        yield "it has no segments", "Leave the sample out: an empty list ends the training (ValueError)", "no segments"
        return
    for n, segment in enumerate(segments):
        for what, advice, kind, *severity in _segment_findings(segment, row["original_caption"]):
            yield (f"segment {n}: {what}", advice, kind, *severity)  # type: ignore[misc]


def _segment_findings(segment: Any, caption: str) -> Iterator[Finding]:
    missing = lacking(segment, ("filename", "caption"))
    if missing:
        yield f"it has no string {', '.join(missing)}", "Write both (KeyError)", "missing text"
        return
    if not segment["caption"].strip() or segment["caption"] not in caption:
        advice = "Copy a part of original_caption exactly: for other texts, the loader aligns wrong tokens"
        yield "its caption is not in original_caption", advice, "text is not in the caption"
    if type(segment.get("similarity_score")) not in (int, float):
        yield "its similarity_score is not a number", "Write one: the highest is used (KeyError)", "no score"
    box = segment.get("bbox_coordinates")
    found: list[Any] = [box.get(name) for name in (*_CORNERS, "width", "height")] if isinstance(box, dict) else []
    if not found or any(type(number) not in (int, float) for number in found):
        yield "its bbox_coordinates lack a number", "Write x1, y1, x2, y2, width, height in pixels", "broken box"
        return
    x1, y1, x2, y2, width, height = found
    if not (0 <= x1 < x2 and 0 <= y1 < y2):
        yield f"box {found[:4]} has no area", "Write x1 < x2 and y1 < y2 in pixels (the loss is NaN)", "broken box"
    elif x2 > width or y2 > height:
        advice = "Write the size of the whole image: coordinates are divided by it"
        yield f"box {found[:4]} ends outside {width} x {height}", advice, "width is not that of the image", "warning"


def _images(row: Row) -> list[Any]:
    segments = row.get("segment")
    crops = [one.get("filename") for one in segments if isinstance(one, dict)] if isinstance(segments, list) else []
    return [row.get("original_filename"), *crops]


FORMAT: Final = ListFormat(check=_row_findings, check_file=_file_findings, image=_images)
