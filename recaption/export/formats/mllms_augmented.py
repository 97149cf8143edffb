"""MLLMs-Augmented: a JSON list of image and caption for each model, with captions cut to their first sentence.

The format of Yanqing0327/MLLMs-Augmented, LLaVA/llava.py, Qwen-VL/qwen.py: {"image", "caption"}; its README trains on
several files together. Its captions end after 30 tokens or at the first full stop, so some are cut off; some belong
to another image. Here, a caption is the first complete sentence of at most 30 words, or the file has no row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import methodcaller
from typing import Any, Final

from recaption.errors import UserError
from recaption.export.base import Exported, Finding, Options, described, free_names, lacking, of_images
from recaption.export.dataset import SUB_CAPTIONS, Dataset, Select
from recaption.export.json_list import ListFormat, list_problems, repeated
from recaption.export.rows import PLACE, ExportFiles, ExportSample, Made, export_rows, json_list
from recaption.problems import Problem
from recaption.text import fold
from recaption.types import Caption

WRITES: Final = "one JSON file per generation with image (KEY.jpg) and caption: one sentence; raw.json"
READ_BY: Final = "programs that read the data of MLLMs-Augmented"
RAW: Final = "raw.json"
_OF_SUBS: Final = ("caption_id", "char_end", "content_start", "is_fragment", "is_meta")
LONGEST: Final = 30  # words of a caption


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. `map` maps names of files to generations; the default is all generations."""
    generations = free_names(dataset, options) or {name: name for name in of_images(dataset)}
    for name in generations:
        if f"{name}.json" == RAW or "/" in name:
            raise UserError(f"map {name}={generations[name]}: {name!r} is not allowed as a file name; choose another")

    def row(sample: ExportSample) -> Made | str:
        made, spans = [], spans_of(sample)
        for name, generation in generations.items():
            caption = sample.caption(generation)
            text = None if caption is None else sheared(caption, spans)
            if text is not None:
                made.append((f"{name}.json", {"image": sample.image, "caption": text}))
        raw = sample.record.texts().get("raw", "").strip()
        if raw:
            made.append((RAW, {"image": sample.image, "caption": fold(raw)}))
        return made or f"no complete sentence of at most {LONGEST} words"

    kinds = {**{f"{name}.json": json_list for name in generations}, RAW: json_list}
    notes = (described(generations), f"image is a path below {PLACE}")
    used = set(generations.values())
    layout = ExportFiles(
        kinds=kinds,
        notes=notes,
        tables={SUB_CAPTIONS: Select(columns=_OF_SUBS, generations=used)},
        generations=used | {"raw"},
    )
    return export_rows(dataset, dest, options, layout, row)


def spans_of(sample: ExportSample) -> dict[str, slice]:
    """By caption id, the first complete sentence of a caption, without its opener."""
    made: dict[str, slice] = {}
    for caption_id, end, start, is_fragment, is_meta in sample.tables[SUB_CAPTIONS].values(*_OF_SUBS):
        if caption_id not in made and not is_fragment and not is_meta:
            made[caption_id] = slice(start, end)
    return made


def sheared(caption: Caption, spans: Mapping[str, slice]) -> str | None:
    """The first complete sentence of a caption in one line; None if there is none, or it is too long.

    The table `sheared` has the same sentences, of any length.
    """
    span = spans.get(caption.caption_id)
    text = "" if span is None else fold(caption.text[span])
    return text if 0 < len(text.split()) <= LONGEST else None


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`."""
    yield from list_problems(path, FORMAT, images)


def _file_findings(rows: list[Any]) -> Iterator[Finding]:
    yield from repeated(rows, "image", "Write one caption per image: others may belong to other images")


def _row_findings(row: Any) -> Iterator[Finding]:
    missing = lacking(row, ("image", "caption"))
    if missing:
        yield f"it has no string {', '.join(missing)}", "Write both, or leave the sample out", "missing text"
    elif not row["image"] or not row["caption"].strip():
        yield "its image or caption is empty", "Leave the sample out", "empty text"
    elif "\n" in row["caption"]:
        yield "its caption has several lines", "Write one sentence in one line", "several lines", "warning"


FORMAT: Final = ListFormat(check=_row_findings, check_file=_file_findings, image=methodcaller("get", "image"))
