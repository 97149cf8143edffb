"""MAKE: a CSV with a caption, its statements about two aspects, and its sentences, with masks.

Read by SiyuanYan1/MAKE, src/open_clip_train/data.py, MultiPositiveCsvDataset, with pandas, by the names of columns:
`filename` is opened as it is; masks are evaluated as Python. The loader joins caption, ontology and visual concepts, so
this is the order of `knowledge_masks`. Prepare_ur_training_dataset.md swaps the last two, but its example file agrees
with the loader. Without a valid sub-caption, the loss is NaN.

A cell that pandas would not read as text gets a full stop, as in `dreamlip`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any, Final

from recaption.errors import UserError
from recaption.export.base import Exported, Finding, Options, Usage, described, found_in, named, one_text, refuse_fill
from recaption.export.csv_table import read_rows
from recaption.export.dataset import SUB_CAPTIONS, Dataset, Select
from recaption.export.formats.dreamlip import cell
from recaption.export.image_files import missing_images
from recaption.export.needs import ASPECTS, required
from recaption.export.rows import ExportFiles, ExportSample, Made, csv_file, export_rows, path_of
from recaption.problems import Problem
from recaption.text import fold
from recaption.types import Caption
from recaption.write.profile import sentences

WRITES: Final = "one CSV with 16 columns: filename, captions, eight sub-captions, masks"
READ_BY: Final = "MAKE"
PROGRAM: Final = "MAKE (main since 2025-09; before, it had no training)"
FILE: Final = "make.csv"
VISUAL: Final = "visual_concept_caption"
ONTOLOGY: Final = "ontology_caption"
SUB_COLUMNS: Final = tuple(f"subcaption_{n}" for n in range(1, 9))
HEADER: Final = (
    *("filename", "caption", "truncated_caption", VISUAL, ONTOLOGY, "sub_captions"),
    *(*SUB_COLUMNS, "sub_caption_mask", "knowledge_masks"),
)
KNOWLEDGE: Final = ("caption", ONTOLOGY, VISUAL)
"""The columns of `knowledge_masks`, in the order of the loader."""
DEFAULTS: Final = {VISUAL: "visual", ONTOLOGY: "ontology"}
"""The aspects of the ontology file that fill these columns."""


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. `map` maps the two columns to aspects: visual_concept_caption=ASPECT."""
    refuse_fill(options)
    unknown = [name for name in options.map if name not in DEFAULTS]
    if unknown:
        raise UserError(f"map: unknown name {unknown[0]!r}; allowed: {', '.join(DEFAULTS)}, each with an aspect")
    generation = required(dataset, options, ASPECTS)
    aspects = {column: options.map.get(column, aspect) for column, aspect in DEFAULTS.items()}
    (source,) = one_text(dataset, {"caption": "long"}, Options()).values()
    found: set[str] = set()

    def row(sample: ExportSample) -> Made | str:
        caption = sample.caption(source)
        if caption is None or not caption.text.strip():
            return f"no text of {source}"
        about = [*sample.tables[ASPECTS.table].values("caption_id", "aspect", "is_valid", "text")]
        found.update(aspect for _, aspect, _, _ in about)
        texts = {aspect: fold(text) for of, aspect, valid, text in about if of == caption.caption_id and valid}
        cells = _cells(sample, caption, {column: texts.get(aspect, "") for column, aspect in aspects.items()})
        return "no complete sentence" if cells is None else [(FILE, cells)]

    arguments = f"--train-data {path_of(dest, FILE)} --csv-img-key filename --csv-caption-key truncated_caption"
    subs = Select(columns=("caption_id", "text", "is_fragment"), generations={source})
    layout = ExportFiles(
        kinds={FILE: csv_file(*HEADER)},
        notes=(described({"caption": source, ASPECTS.table: generation}), described(aspects)),
        usage=(Usage(program=PROGRAM, arguments=f"{arguments} --MKCL --subcaptions"),),
        tables={ASPECTS.table: ASPECTS.made_by(generation), SUB_CAPTIONS: subs},
        generations={source},
        check=lambda: _check_aspects(aspects, found),
    )
    return export_rows(dataset, dest, options, layout, row)


def _check_aspects(aspects: Mapping[str, str], found: set[str]) -> None:
    unknown = {column: aspect for column, aspect in aspects.items() if aspect not in found}
    if unknown:
        column, aspect = next(iter(unknown.items()))
        known = ", ".join(sorted(found)) or "none"
        raise UserError(
            f"the build has no aspect {aspect!r}; add --map {column}=ASPECT, where ASPECT is one of {known}"
        )


def _cells(sample: ExportSample, caption: Caption, aspects: Mapping[str, str]) -> list[Any] | None:
    """The cells of a row; None if it has no complete sentence."""
    rows = sample.tables[SUB_CAPTIONS].values("caption_id", "text", "is_fragment")
    whole = [text for of, text, fragment in rows if of == caption.caption_id and not fragment]
    subs = sentences(whole)[: len(SUB_COLUMNS)]
    if not subs:
        return None
    text = cell(fold(caption.text))
    known = {"caption": text, **{column: cell(said) if said else "" for column, said in aspects.items()}}
    empty = [""] * (len(SUB_COLUMNS) - len(subs))
    return [
        *(sample.path, text, text, known[VISUAL], known[ONTOLOGY], len(subs), *map(cell, subs), *empty),
        [1] * len(subs) + [0] * len(empty),
        [int(bool(known[name])) for name in KNOWLEDGE],
    ]


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. Masks are read as literals, never evaluated."""
    for file in named(path, ".csv"):
        rows = yield from read_rows(file, HEADER)
        for number, row in enumerate(rows, 1):
            yield from found_in(f"{file}: row {number}", _row_findings(row))
        yield from found_in(file, missing_images(file, (row["filename"] for row in rows), images))


def _row_findings(row: Mapping[str, str]) -> Iterator[Finding]:
    cells = {name: row[name].strip() for name in HEADER}
    if not cells["filename"] or not cells["truncated_caption"]:
        yield "its filename or truncated_caption is empty", "Leave the row out", "empty cell"
    subs, knowledge = (_mask(cells[name]) for name in ("sub_caption_mask", "knowledge_masks"))
    if subs is None or len(subs) != len(SUB_COLUMNS):
        yield f"sub_caption_mask is {cells['sub_caption_mask']!r}", "Write a list of eight, 0 or 1", "wrong mask"
    elif not any(subs):
        yield "no sub-caption is valid", "Leave the row out: the loss would be NaN", "no valid sub-caption"
    else:
        wrong = [name for name, flag in zip(SUB_COLUMNS, subs, strict=True) if flag and not cells[name]]
        if wrong:
            yield f"{wrong[0]} is valid, but empty", "Set its place in sub_caption_mask to 0", "empty text is valid"
    if knowledge is None or len(knowledge) != len(KNOWLEDGE):
        yield f"knowledge_masks is {cells['knowledge_masks']!r}", "Write a list of three, 0 or 1", "wrong mask"
        return
    wrong = [name for name, flag in zip(KNOWLEDGE, knowledge, strict=True) if flag and not cells[name]]
    if wrong:
        advice = "Set its place in knowledge_masks to 0; the order is caption, ontology, visual, unlike in the document"
        yield f"{wrong[0]} is valid, but empty", advice, "empty text is valid"


def _mask(text: str) -> list[int] | None:
    try:
        made = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return made if isinstance(made, list) and all(type(flag) is int and flag in (0, 1) for flag in made) else None
