"""Rows of CSV, JSON, JSONL and Parquet files, and the tables of a folder of images: a row per file name.

`file_name`, `*_file_name`, `file_names` and `*_file_names`, and the names metadata.csv, metadata.jsonl and
metadata.parquet in any folder, are the convention of Hugging Face's imagefolder
(datasets/packaged_modules/folder_based_builder). Paths are relative to the folder that contains the table.
"""

from __future__ import annotations

import csv
import io
import posixpath
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from recaption.errors import ShardError, SourceError
from recaption.formatting import number_of
from recaption.io.files import is_file, is_url, read_all
from recaption.source.columns import clean, parse_json, repeated

_LIMIT = threading.Lock()  # held while the limit of the csv module is changed
_CELL = (1 << 31) - 1  # characters; the csv module's limit is a C long
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"
Check = Callable[[Sequence[str], str], None]
"""Raises SourceError if a table at this path may not have these columns."""


@dataclass(kw_only=True, slots=True)
class Table:
    """Rows of one or more tables, by the image's path relative to the folder, without the file name itself.

    `also` are files that other columns name (`mask_file_name`). Such a column may hold other values as well.
    """

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    also: dict[str, dict[str, Any]] = field(default_factory=dict)

    def columns(self, name: str) -> dict[str, Any] | None:
        """The columns of a file; None if no table names it."""
        row = self.rows.get(name, self.also.get(name))
        return None if row is None else dict(row)


def find_table(folder: str, captions: str) -> str:
    """The path of `source.captions`, as given or within the folder. Raises SourceError if it does not exist."""
    tried = [captions] if is_url(captions) or captions.startswith("/") else [captions, f"{folder}/{captions}"]
    for path in tried:
        if is_file(path):
            return path
    raise SourceError(
        f"source.captions: there is no file {' or '.join(tried)}. Give a CSV, JSON, JSONL or Parquet table with a "
        f"column {FILE_NAME}"
    )


def first_of_each(tables: Iterable[str]) -> list[str]:
    """Metadata files, relative to the folder: one per folder, outer folders first."""
    taken: dict[str, str] = {}
    for path in sorted(tables, key=lambda path: METADATA.index(posixpath.basename(path))):
        taken.setdefault(posixpath.dirname(path), path)
    return sorted(taken.values(), key=lambda path: (path.count("/"), posixpath.dirname(path)))


def read_tables(folder: str, tables: Sequence[str], backslashed: Set[str] = frozenset()) -> Table:
    """Merge tables of nested folders, outer ones first: inner tables take precedence. Arguments and errors are those of
    `read_table`."""
    merged = Table()
    for path in tables:
        one = read_table(f"{folder}/{path}", posixpath.dirname(path), backslashed)
        for mine, found in ((merged.rows, one.rows), (merged.also, one.also)):
            for name, row in found.items():
                mine[name] = {**mine.get(name, {}), **row}
    return merged


def read_table(path: str, folder: str = "", backslashed: Set[str] = frozenset()) -> Table:
    """All rows by file name. In CSV every cell is literal text: None and NA are words, not missing values.

    `folder` is the folder of the table, relative to the folder of images. `backslashed` are the files below the latter
    with a backslash in their path; in other names it is a separator, as in tables that were written on Windows. Raises
    SourceError for another format, a missing file_name, a malformed line, or a file that is named twice.
    """
    suffix = posixpath.splitext(path)[1].lower()
    readers: dict[str, Callable[[bytes, str], Iterator[tuple[str, dict[str, Any]]]]]
    readers = {".csv": csv_rows, ".json": _json, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": parquet_rows}
    if suffix not in readers:
        raise SourceError(f"source.captions {path!r} has an unsupported suffix; allowed: {', '.join(sorted(readers))}")
    try:
        data = read_all(path)
    except ShardError as error:
        raise SourceError(f"source.captions: {error}") from error
    table = Table()
    for where, row in readers[suffix](data, path):
        primary, others = _named(row)
        if not primary:
            raise SourceError(
                f"{path}, {where}: no text in {FILE_NAME}; its columns are {', '.join(row) or 'none'}. "
                f"Give the image's path in a column {FILE_NAME}"
            )
        columns = {name: value for name, value in row.items() if name not in (FILE_NAME, f"{FILE_NAME}s")}
        for name in (_within(folder, name, backslashed) for name in primary):
            if name in table.rows:
                raise SourceError(
                    f"{path}, {where}: {name} is named twice. Give one row per image (in JSONL and Parquet a "
                    "column may hold a list of captions)"
                )
            table.rows[name] = columns
        for name in others:
            table.also.setdefault(_within(folder, name, backslashed), columns)
    return table


def _named(row: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The images and the other files that a row names.

    Images are in `file_name` and `file_names`, other files in columns whose names end in one of these. In a row without
    the first two, those columns name the images.
    """
    plain = [name for column in (FILE_NAME, f"{FILE_NAME}s") for name in _texts(row.get(column))]
    if FILE_NAME in row or f"{FILE_NAME}s" in row:
        others = [name for column, value in row.items() if _names_files(column) for name in _texts(value)]
        return plain, [name for name in others if name not in plain]
    return list(dict.fromkeys(n for c, value in row.items() if _names_files(c) for n in _texts(value))), []


def _names_files(column: str) -> bool:
    return column.endswith((f"_{FILE_NAME}", f"_{FILE_NAME}s"))


def _texts(value: Any) -> list[str]:
    return [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str) and text]


def _within(folder: str, name: str, backslashed: Set[str]) -> str:
    """A name in a table as a path relative to the folder of images."""
    if "\\" in name and (exact := posixpath.normpath(posixpath.join(folder, name))) in backslashed:
        return exact
    name = posixpath.normpath(name.replace("\\", "/"))
    return name if name.startswith(("/", "../")) or name == ".." else posixpath.join(folder, name)


_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def _names_images(columns: Sequence[str], path: str) -> None:
    if any(column in (FILE_NAME, f"{FILE_NAME}s") or _names_files(column) for column in columns):
        return
    raise SourceError(f"{path} has no column {FILE_NAME}; it has {', '.join(columns)}{separator_hint(columns)}")


def separator_hint(columns: Sequence[str]) -> str:
    """The end of a message about the columns of a CSV that may be separated by another character than a comma."""
    other = next((name for mark, name in _SEPARATORS.items() if columns and mark in columns[0]), "")
    return f". Its columns are separated by {other}: separate them by commas" if other else ""


def csv_rows(data: bytes, path: str, check: Check = _names_images) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(_decoded(data, path), newline=""), strict=True)
    header: list[str] | None = None
    while (cells := _next_cells(reader, path)) is not None:
        if not any(cell.strip() for cell in cells):  # a blank line, or a row that a spreadsheet left empty
            continue
        if header is None:
            header = cells
            _refuse_repeated([name for name in header if name], f"{path}, line {reader.line_num}")
            check(header, path)
        elif len(cells) != len(header):
            raise SourceError(
                f"{path}, line {reader.line_num}: {number_of(len(cells), 'cell')} for "
                f"{number_of(len(header), 'column')}. "
                'Put texts with commas in quotes: "a red ball, and a box"'
            )
        else:
            yield f"line {reader.line_num}", dict(zip(header, cells, strict=True))


def _refuse_repeated(names: Sequence[str], where: str) -> None:
    if twice := repeated(names):
        raise SourceError(f"{where}: more than one column {', '.join(twice)}. Rename or remove all but one")


def _next_cells(reader: Any, path: str) -> list[str] | None:
    """The next row, with cells of any size. The csv module's limit is global, so it is restored each time.

    Raises SourceError.
    """
    with _LIMIT:
        limit = csv.field_size_limit(_CELL)
        try:
            return next(reader, None)
        except csv.Error as error:
            raise SourceError(f"{path}, line {reader.line_num}: {error}") from error
        finally:
            csv.field_size_limit(limit)


def _decoded(data: bytes, path: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8: {error}. Save it as UTF-8") from error


def _json(data: bytes, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A JSON list of objects. Anything else is read as JSON lines."""
    twice: set[str] = set()
    try:
        rows = parse_json(data, twice)
    except ValueError:
        rows = None
    if not isinstance(rows, list):
        yield from _jsonl(data, path)
        return
    if twice:
        raise SourceError(
            f"{path} has objects with a repeated key: {', '.join(sorted(twice))}. Rename or remove all but one"
        )
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise SourceError(f"{path}, item {number}: expected an object with {FILE_NAME}, got {type(row).__name__}")
        yield f"item {number}", row


def _jsonl(data: bytes, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        twice: set[str] = set()
        try:
            row = parse_json(line, twice)
        except ValueError as error:
            raise SourceError(f"{path}, line {number} is not JSON: {error}") from error
        if twice:
            raise SourceError(
                f"{path}, line {number}: repeated key {', '.join(sorted(twice))}. Rename or remove all but one"
            )
        if not isinstance(row, dict):
            raise SourceError(f"{path}, line {number}: expected an object with {FILE_NAME}, got {type(row).__name__}")
        yield f"line {number}", row


def parquet_rows(data: bytes, path: str, check: Check = _names_images) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
            names = file.schema_arrow.names
            _refuse_repeated(names, path)
            check(names, path)
            rows = file.read(use_threads=False).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} is not a readable Parquet file: {error}") from error
    for number, row in enumerate(rows):
        yield f"row {number}", clean(row)
