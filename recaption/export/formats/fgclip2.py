"""FG-CLIP 2 in English and Chinese: two JSON lists in two folders.

Read by 360CVGroup/FG-CLIP, fgclip2/train/train_fgclip2.py (main), LazySupervisedBboxDataset: the English list is as in
`fg_clip`; the Chinese one is in the folder --cn_pair_root, with images in --cn_image_root. The key `is_cn` with any
value makes a text Chinese: no "a photo of " is put before it, and its boxes are not read. All rows
of a batch are from one list: a row in the wrong list is trained in batches of the other language.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from recaption.errors import UserError
from recaption.export.base import Exported, Finding, Options, Usage, found_in, named, refuse_fill
from recaption.export.dataset import Dataset
from recaption.export.formats import fg_clip
from recaption.export.formats.fg_clip import export_boxes
from recaption.export.json_list import file_problems
from recaption.export.needs import require_translations
from recaption.export.rows import PLACE, ExportSample, Made, Row, json_list, path_of
from recaption.io import files
from recaption.problems import Problem
from recaption.types import Granularity

WRITES: Final = "en/fgclip2.json as fg_clip writes it, cn/fgclip2.json with Chinese captions and is_cn"
READ_BY: Final = "FG-CLIP 2"
PROGRAM: Final = "FG-CLIP 2 (main since 2025-10; v1.0 reads English only, as fg_clip writes it)"
ENGLISH: Final = "en/fgclip2.json"
CHINESE: Final = "cn/fgclip2.json"
_KINDS: Final[dict[str, Granularity]] = {"caption": "long", "short_caption": "short"}


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. The Chinese captions are those with the language zh."""
    refuse_fill(options)
    require_translations(dataset)
    chinese = 0

    def rows(sample: ExportSample, row: Row) -> Made | str:
        nonlocal chinese
        found = {c.granularity: c.text for c in reversed(sample.record.captions) if _is_chinese(c.lang)}
        texts = {name: found.get(kind) for name, kind in _KINDS.items()}
        if None in texts.values():
            return [(ENGLISH, row)]
        chinese += 1
        return [(ENGLISH, row), (CHINESE, {"f_path": row["f_path"], **texts, "is_cn": 1})]

    arguments = f"--cn_and_en_2_train True --data_path {path_of(dest, ENGLISH)} --cn_pair_root {path_of(dest, 'cn')} "
    arguments += f"--image_folder {PLACE} --cn_image_root {PLACE}"
    usage = Usage(program=PROGRAM, arguments=arguments)
    done = export_boxes(dataset, dest, options, {ENGLISH: json_list, CHINESE: json_list}, usage, rows, _KINDS.values())
    return replace(done, notes=(*done.notes, f"samples with both Chinese captions: {chinese:,} of {done.samples:,}"))


def _is_chinese(lang: str | None) -> bool:
    return lang is not None and lang.split("-")[0] == "zh"


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`: the folder with `en` and `cn`."""
    folder = files.absolute(path).rstrip("/")
    languages = {"en": _english, "cn": _chinese}
    if lacking := [name for name in languages if not files.is_folder(f"{folder}/{name}")]:
        raise UserError(f"cannot check {path}: there is no folder {lacking[0]}. Give the folder with en and cn")
    for language, check in languages.items():
        form = replace(fg_clip.FORMAT, check=check)
        for file in named(f"{folder}/{language}", (".json", ".jsonl")):
            place = images or f"{folder}/images"
            yield from file_problems(file, form, place)
            if language == "cn" and file.endswith(".jsonl"):
                advice = "Name it .json: FG-CLIP 2 reads no other Chinese files"
                yield from found_in(file, [("it is not read", advice, "unread file")])


def _english(row: Any) -> Iterator[Finding]:
    yield from fg_clip.row_findings(row)
    if isinstance(row, dict) and "is_cn" in row:
        advice = "Move it to the folder cn, or remove the key: it is trained in batches of English texts"
        yield "it has is_cn", advice, "Chinese row in the English list"


def _chinese(row: Any) -> Iterator[Finding]:
    yield from fg_clip.row_findings(row)
    if isinstance(row, dict) and "is_cn" not in row:
        advice = "Add is_cn: 1: without it, its image is looked up in --image_folder"
        yield "it has no is_cn", advice, "English row in the Chinese list"
