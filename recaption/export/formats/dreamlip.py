"""DreamLIP: one CSV with eight columns, read by position. Texts are not split, because the trainer splits them.

Read by zyf0619sjtu/DreamLIP, training/data.py, read_long_csv and CsvDataset: Python's csv module, which refuses cells
over 131,072 characters; `Image Path` is a file below the trainer's root; the path of the CSV itself needs five parts,
because the dataset's name is `csv_file.split("/")[4]`. Fewer than two sentences under its own splitter end the run: the
last sentence is never drawn. FLAIR's preprocess/convert_to_parquet.py reads the same file with pandas, which reads
empty cells and words such as NA and None as null, and a null ends FLAIR's training.

So a text that pandas would read as null, a number or a boolean gets a full stop; a missing text is a single full stop,
which has no sentence. `Image Path` is `<key>.jpg`, the name of the file when the tars of a webdataset build or of the
source are unpacked.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from recaption.annotate.split import split_like_flair
from recaption.errors import UserError
from recaption.export.base import (
    Exported,
    Finding,
    Options,
    Usage,
    chosen,
    described,
    found_in,
    is_relative,
    named,
    replaced_raw,
)
from recaption.export.dataset import Dataset
from recaption.export.image_files import missing_images
from recaption.export.rows import PLACE, ExportFiles, ExportSample, Made, csv_file, export_rows, path_of
from recaption.formatting import number_of
from recaption.io import files
from recaption.problems import Problem
from recaption.types import Record

WRITES: Final = "one CSV with Image Path and seven texts, not split"
READ_BY: Final = "DreamLIP, FLAIR's preprocessing"
TEXTS: Final = {
    "raw": "raw",
    "shortIB": "short",
    "longIB": "long",
    "shortSV": "short",
    "longSV": "long",
    "shortLLA": "short",
    "longLLA": "long",
}
HEADER: Final = ("Image Path", "raw_caption", *(f"{name}_captions" for name in TEXTS if name != "raw"))
FILE: Final = "3long_3short_1raw_captions.csv"
LONGEST: Final = 131_072  # characters of a cell; csv.field_size_limit
_NONE: Final = "."
# pandas/_libs/parsers.pyx, STR_NA_VALUES; _OTHER_TYPES are the cells that it parses as numbers and booleans
_NULLS: Final = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)
_OTHER_TYPES: Final = re.compile(r"\s*([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?inf(inity)?|true|false)\s*", re.I)
_LONGEST_NULL: Final = max(map(len, _NULLS))


def split(text: str) -> list[str]:
    """Sentences as DreamLIP and FLAIR split them: at line ends, `</s>` and full stops."""
    return [text[start:end] for start, end in split_like_flair(text)]


def cell(text: str) -> str:
    """A cell that csv and pandas both read as this text."""
    text = text.replace("\0", "")
    bare = text.strip()
    if len(bare) <= _LONGEST_NULL and bare in _NULLS:
        return f"{bare}."
    if _OTHER_TYPES.fullmatch(text):
        return f"{bare} ."  # "12." would still be a number
    return text


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. `fill` is repeat unless set: every column gets a text of its granularity."""
    sources = chosen(dataset, TEXTS, options, "repeat")
    path = f"{files.absolute(dest).rstrip('/')}/{FILE}"
    if _is_short(path):
        raise UserError(
            f"{dest} is not deep enough: DreamLIP takes the dataset's name from the fifth part of {path}, which has "
            f"{len(path.split('/'))} parts. Name a folder that is deeper, such as {files.absolute(dest)}/data/train"
        )

    replaced = 0

    def row(sample: ExportSample) -> Made | str:
        nonlocal replaced
        cells = _cells(sample.record, sources)
        if sum(1 for _ in itertools.islice(_pool(cells), 2)) < 2:
            return "fewer than two sentences under DreamLIP's splitter"
        if max(map(len, cells)) > LONGEST:
            return f"a text of more than {LONGEST:,} characters, the limit of Python's csv module"
        replaced += sources["raw"] == "raw" and "raw" not in sample.record.texts()
        return [(FILE, (sample.image, *cells))]

    arguments = f"--dataset-type csv --use_longcap --train-data {path_of(dest, FILE)} --root_filename {PLACE}"
    usage = Usage(program="DreamLIP (main since 2024-07; before, it had no code)", arguments=arguments)
    kinds = {FILE: csv_file(*HEADER)}
    layout = ExportFiles(kinds=kinds, notes=(described(sources),), usage=(usage,))
    done = export_rows(dataset, dest, options, layout, row)
    return replace(done, notes=(*done.notes, *replaced_raw(HEADER[1], "first caption", replaced, done.samples)))


def _cells(record: Record, sources: dict[str, str | None]) -> list[str]:
    """The seven texts. The raw one is always trained on; if there is none, the image's first caption replaces it."""
    texts = record.texts()
    texts.setdefault("raw", record.captions[0].text)
    found = (texts.get(generation) if generation else None for generation in sources.values())
    return [cell(text) if text else _NONE for text in found]


def _pool(cells: Sequence[str]) -> Iterator[str]:
    return (sentence for text in cells[1:] for sentence in split(text))


def _is_short(path: str) -> bool:
    return len(path.split("/")) < 5


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`; `loaders` is not used: each process loads the whole CSV."""
    for file in named(path, ".csv"):
        if _is_short(files.absolute(file)):
            what = "its path has fewer than five parts"
            advice = "Move the file to a deeper folder: DreamLIP uses the fifth part as the dataset's name"
            yield from found_in(file, [(what, advice, "short path")])
        yield from _file_problems(file, images)


def _file_problems(file: str, images: str | None) -> Iterator[Problem]:
    paths: list[str] = []
    with io.TextIOWrapper(files.open_stream(file), encoding="utf-8", newline="") as text:
        rows = csv.reader(text, strict=True)
        try:
            yield from found_in(f"{file}: header", _header_findings(next(rows, [])))
            for row in rows:
                yield from found_in(f"{file}: line {rows.line_num}", _row_findings(row))
                paths.extend(row[:1])
        except (csv.Error, UnicodeDecodeError) as error:
            what = f"Python's csv module cannot read it: {error}"
            advice = (
                f"Quote cells by RFC 4180, write UTF-8, and no cell over {LONGEST:,} characters. The rest was not read"
            )
            yield from found_in(f"{file}: line {rows.line_num + 1}", [(what, advice, "broken CSV")])

    yield from found_in(file, missing_images(file, paths, images))


def _header_findings(header: list[str]) -> Iterator[Finding]:
    if len(header) != len(HEADER) or header[0].lower() != HEADER[0].lower():
        what = f"its columns are {', '.join(header) or '(none)'}"
        advice = f"The first line is skipped, and columns are read by position: {', '.join(HEADER)}"
        yield what, advice, "unexpected header", "warning" if len(header) == len(HEADER) else "error"


def _row_findings(row: list[str]) -> Iterator[Finding]:
    if len(row) != len(HEADER):
        yield number_of(len(row), "cell"), f"Write {len(HEADER)} cells per row", "wrong number of cells"
        return
    if not row[0].strip() or not is_relative(row[0]):
        advice = "DreamLIP opens it as a file below its root folder: write a relative path"
        yield f"its image is {row[0]!r}", advice, "image is not a relative path"
    if any("\0" in value for value in row):
        yield "it has a NUL character", "Remove it: Python's csv module before 3.11 fails on it", "NUL character"
    null = [HEADER[i] for i, value in enumerate(row) if value in _NULLS]
    if null:
        advice = "FLAIR's preprocessing turns it into null, which ends the training: add a full stop"
        yield f"pandas reads {', '.join(null)} as null", advice, "read as null", "warning"
    sentences = sum(1 for _ in _pool(row[1:]))
    if sentences < 2:
        advice = "Leave the row out: with fewer than two, DreamLIP ends with an IndexError"
        yield f"{sentences} sentences in its six short and long texts", advice, "fewer than two sentences"
