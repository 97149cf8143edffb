"""DreamLIP: one CSV of eight columns, read by position; texts are whole, the trainer splits them.

Read by zyf0619sjtu/DreamLIP, training/data.py, read_long_csv and CsvDataset: Python's csv module, which refuses cells
over 131,072 characters; `Image Path` is a file below the trainer's root; the path of the CSV itself needs five parts,
as `csv_file.split("/")[4]` names the dataset. A pool of fewer than two sentences, under its own splitter, ends the run:
the last sentence is never drawn. The same file is what FLAIR's preprocess/convert_to_parquet.py takes, with pandas,
which reads empty cells and words such as NA and None as null, and that ends FLAIR's training.

What changes a text here: one that pandas would take for null, a number or a truth value gets a full stop; a missing
one is a lone full stop, which has no sentence. `Image Path` is `<key>.jpg`: identity that never fails, and what the
files are called when the tars of a webdataset build or of the source are unpacked.
"""

from __future__ import annotations

import csv
import io
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from recaption.annotate.split import split_like_flair
from recaption.export.base import Exported, Options, begin, chosen, described, named, records, refuse_shard_size, turned
from recaption.export.dataset import Dataset
from recaption.io import files
from recaption.io.outfile import outfile
from recaption.problems import Problem
from recaption.types import Record

WRITES: Final = "one CSV: Image Path and seven texts, unsplit"
READ_BY: Final = "DreamLIP; FLAIR's preprocessing"
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
LONGEST: Final = 131_072  # characters of a cell that csv.reader takes
_NONE: Final = "."
# pandas/_libs/parsers.pyx, STR_NA_VALUES, and what its parser takes for numbers and truth values
_NULLS: Final = frozenset(
    {"", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"}
    | {"NULL", "NaN", "None", "n/a", "nan", "null"}
)
_OTHER_TYPES: Final = re.compile(r"\s*([-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?|[-+]?inf(inity)?|true|false)\s*", re.I)


def split(text: str) -> list[str]:
    """DreamLIP's own sentences, which are FLAIR's: cut at line ends, `</s>` and full stops."""
    return [text[start:end] for start, end in split_like_flair(text)]


def cell(text: str) -> str:
    """The text as a cell that csv and pandas both read as this text."""
    text = text.replace("\0", "")
    if text.strip() in _NULLS:
        return f"{text.strip()}."
    if _OTHER_TYPES.fullmatch(text):
        return f"{text.strip()} ."  # "12." would still be a number
    return text


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. `fill` is repeat unless set: every column gets a text of its kind."""
    sources = chosen(dataset, TEXTS, options, "repeat")
    refuse_shard_size(options, FILE)
    store = begin(dataset, dest, options)
    left_out: Counter[str] = Counter()
    written = 0
    with outfile(store, FILE) as sink:
        sink.write(_line(HEADER))
        for record in records(dataset, options):
            cells = _cells(record, sources)
            if len(_pool(cells)) < 2:
                left_out["fewer than two sentences under DreamLIP's splitter"] += 1
            elif max(map(len, cells)) > LONGEST:
                left_out[f"a text of more than {LONGEST:,} characters, which Python's csv does not read"] += 1
            else:
                sink.write(_line((f"{record.key}.jpg", *cells)))
                written += 1
    path = shlex.quote(f"{files.absolute(dest).rstrip('/')}/{FILE}")
    notes = (
        described(sources),
        f"--use_longcap --train-data {path}  # its absolute path needs five parts",
        *turned(dataset),
    )
    return Exported(samples=written, files=1, left_out=left_out, notes=notes)


def _cells(record: Record, sources: dict[str, str | None]) -> list[str]:
    """The seven texts. The raw one, which is always trained on, falls back to the first that there is."""
    texts = record.texts()
    texts.setdefault("raw", record.captions[0].text)
    found = (texts.get(generation) if generation else None for generation in sources.values())
    return [cell(text) if text else _NONE for text in found]


def _pool(cells: Sequence[str]) -> list[str]:
    return [sentence for text in cells[1:] for sentence in split(text)]


def _line(cells: Iterable[str]) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue().encode()


def validate(path: str, *, loaders: int | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`; `loaders` does not matter for a CSV, of which each process holds all."""
    for file in named(path, ".csv"):
        absolute = files.absolute(file)
        if absolute.count("/") < 4:
            yield Problem(
                where=file,
                what="its path has fewer than five parts",
                advice="DreamLIP takes the fifth part of the path for the dataset's name: move it deeper",
                kind="short path",
            )
        yield from _file_problems(file)


def _file_problems(file: str) -> Iterator[Problem]:
    def problem(where: str, what: str, advice: str, kind: str, **more: Any) -> Problem:
        return Problem(where=f"{file}: {where}", what=what, advice=advice, kind=kind, **more)

    with io.TextIOWrapper(files.open_stream(file), encoding="utf-8", newline="") as text:
        rows = csv.reader(text, strict=True)
        try:
            header = next(rows, [])
            if len(header) != len(HEADER) or header[0].lower() != HEADER[0].lower():
                yield problem(
                    "header",
                    f"its columns are {', '.join(header) or '(none)'}",
                    f"The first line is skipped and columns are read by position: {', '.join(HEADER)}",
                    "unexpected header",
                    severity="warning" if len(header) == len(HEADER) else "error",
                )
            for row in rows:
                where = f"line {rows.line_num}"
                if len(row) != len(HEADER):
                    yield problem(
                        where, f"{len(row)} cells", f"Write {len(HEADER)} cells a row", "wrong number of cells"
                    )
                    continue
                if not row[0].strip() or "://" in row[0] or row[0].startswith("/"):
                    yield problem(
                        where,
                        f"its image is {row[0]!r}",
                        "DreamLIP opens it as a file below its root folder: write a relative path",
                        "image is no relative path",
                    )
                if any("\0" in value for value in row):
                    yield problem(
                        where,
                        "it has a NUL character",
                        "Remove it: Python's csv before 3.11 ends with an error there",
                        "NUL character",
                    )
                null = [HEADER[i] for i, value in enumerate(row) if value in _NULLS]
                if null:
                    yield problem(
                        where,
                        f"pandas reads {', '.join(null)} as null",
                        "FLAIR's preprocessing makes null of it, which ends its training: add a full stop",
                        "read as null",
                        severity="warning",
                    )
                if len(_pool(row[1:])) < 2:
                    yield problem(
                        where,
                        f"{len(_pool(row[1:]))} sentences in its six short and long texts",
                        "Leave the row out: with fewer than two DreamLIP ends with an IndexError",
                        "fewer than two sentences",
                    )
        except (csv.Error, UnicodeDecodeError) as error:
            yield problem(
                f"line {rows.line_num + 1}",
                f"Python's csv cannot read it: {error}",
                f"Quote as RFC 4180 says; UTF-8, no cell over {LONGEST:,} characters. The rest was not read",
                "broken csv",
            )
