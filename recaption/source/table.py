"""The table beside a folder of images: a row per file name, from CSV, JSONL or Parquet.

`file_name` and the names metadata.csv, metadata.jsonl and metadata.parquet are the convention of Hugging Face's
imagefolder (datasets/packaged_modules/folder_based_builder).
"""

from __future__ import annotations

import csv
import io
import posixpath
from collections.abc import Iterator
from typing import Any

from recaption.errors import ShardError, SourceError
from recaption.source.columns import clean, parse_json
from recaption.source.files import is_file, is_url, read_all

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"

Table = dict[str, dict[str, Any]]  # file name, relative to the folder -> the row's other columns


def find_table(folder: str, captions: str | None) -> str | None:
    """The table's path: `source.captions`, as given or within the folder; else the folder's metadata file.

    Raises SourceError when the one that was named is not there.
    """
    if captions is None:
        return next((path for name in METADATA if is_file(path := f"{folder}/{name}")), None)
    tried = [captions] if is_url(captions) or captions.startswith("/") else [captions, f"{folder}/{captions}"]
    for path in tried:
        if is_file(path):
            return path
    raise SourceError(
        f"source.captions: there is no file {' or '.join(tried)}. Give a CSV, JSONL or Parquet table with a column "
        f"{FILE_NAME}"
    )


def read_table(path: str) -> Table:
    """All rows by file name. In CSV every cell is text as it stands: None and NA are words, not missing values.

    Raises SourceError for another format, a missing file_name, a malformed line, or a file that is named twice.
    """
    suffix = posixpath.splitext(path)[1].lower()
    readers = {".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl, ".parquet": _parquet}
    if suffix not in readers:
        raise SourceError(f"source.captions {path!r}: allowed are {', '.join(sorted(readers))}")
    try:
        data = read_all(path)
    except ShardError as error:
        raise SourceError(f"source.captions: {error}") from error
    table: Table = {}
    for where, row in readers[suffix](data, path):
        name = row.pop(FILE_NAME, None)
        if not isinstance(name, str) or not name:
            raise SourceError(
                f"{path}, {where}: no text in {FILE_NAME}; its columns are {', '.join(row) or 'none'}. "
                f"Give the image's path relative to the folder in a column {FILE_NAME}"
            )
        name = posixpath.normpath(name)
        if name in table:
            raise SourceError(
                f"{path}, {where}: {name} is named a second time. Give one row per image (in JSONL and Parquet a "
                "column may hold a list of captions)"
            )
        table[name] = row
    return table


def _csv(data: bytes, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8: {error}") from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for cells in reader:
            if not cells:
                continue
            if header is None:
                header = cells
                if FILE_NAME not in header:
                    raise SourceError(f"{path} has no column {FILE_NAME}; it has {', '.join(header)}")
            elif len(cells) != len(header):
                raise SourceError(
                    f"{path}, line {reader.line_num}: {len(cells)} cells for {len(header)} columns. "
                    'Put texts with commas in quotes: "a red ball, and a box"'
                )
            else:
                yield f"line {reader.line_num}", dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise SourceError(f"{path}, line {reader.line_num}: {error}") from error


def _jsonl(data: bytes, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            raise SourceError(f"{path}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise SourceError(f"{path}, line {number}: expected an object with {FILE_NAME}, got {type(row).__name__}")
        yield f"line {number}", row


def _parquet(data: bytes, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
        if FILE_NAME not in table.column_names:
            raise SourceError(f"{path} has no column {FILE_NAME}; it has {', '.join(table.column_names)}")
        rows = table.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} is not a readable Parquet file: {error}") from error
    for number, row in enumerate(rows):
        yield f"row {number}", clean(row)
