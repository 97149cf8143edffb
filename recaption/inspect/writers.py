"""Writes results as CSV, JSON lines, Parquet or tab-separated lines to a file, a pipe or a terminal.

Batches are streamed, so memory use is constant. Values are written as stored; control characters are removed only on a
terminal (`terminal.printable`). A file appears complete or not at all.
- csv (RFC 4180): texts are quoted, null is an empty cell and the empty text is `""`; lists and structs are JSON, bytes
  base64.
- json: one object per line (https://jsonlines.org), as in DuckDB's COPY … (FORMAT json); bytes are base64, integers
  beyond 64 bits strings.
- parquet: zstd, one row group per batch.
- lines, the default for pipes: values between tabs, for `cut`, `sort` and readers. Tabs and line ends in values become
  spaces, control characters are removed, and null is empty.
"""

from __future__ import annotations

import base64
import io
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from pyarrow import types
from rich.console import Console

from recaption.errors import DISK_ERRORS, StoreError, UserError, in_words
from recaption.formatting import printable
from recaption.inspect.paths import OutputPaths
from recaption.inspect.table import shown

FORMATS = ("table", "csv", "json", "parquet")
_SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}


def format_of(path: Path) -> str:
    """The format for a file's suffix. Raises UserError for an unknown suffix."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"{path} has no known suffix. Give --format, or a name that ends in {', '.join(_SUFFIXES)}")
    return _SUFFIXES[path.suffix.lower()]


def write_batches(
    schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: IO[bytes], format: str, *, terminal: bool = False
) -> int:
    """Write all rows and return their number.

    `format` is csv, json, parquet or lines; `terminal` removes control characters from texts. Raises UserError for a
    column type that Parquet does not have, and for a value that cannot be written.
    """
    names = _apart(schema.names)
    schema = pa.schema([field.with_name(name) for name, field in zip(names, schema, strict=True)])
    rows = 0
    with _WRITERS[format](schema, sink) as encode:
        for batch in batches:
            try:
                data = encode(batch.rename_columns(names))
            except UserError:
                raise
            except (ValueError, OverflowError) as error:  # such as a date outside of Python's range
                raise UserError(
                    f"{format} cannot store a value of this result: {error}. Cast its column: column::VARCHAR"
                ) from error
            sink.write(_cleaned(data) if terminal else data)
            rows += batch.num_rows
    return rows


def head(batches: Iterator[pa.RecordBatch], limit: int | None) -> Iterator[pa.RecordBatch]:
    """The first `limit` rows; all of them for None."""
    left = limit
    for batch in batches:
        if left is not None and batch.num_rows >= left:
            yield batch.slice(0, left)
            return
        yield batch
        left = None if left is None else left - batch.num_rows


def _cleaned(lines: bytes) -> bytes:
    return "\n".join(map(printable, lines.decode("utf-8").split("\n"))).encode()


Encode = Callable[[pa.RecordBatch], bytes]  # the bytes of a batch in the file


@contextmanager
def _json(schema: pa.Schema, sink: IO[bytes]) -> Iterator[Encode]:
    yield lambda batch: b"".join(
        orjson.dumps(row, default=_plain, option=orjson.OPT_APPEND_NEWLINE) for row in batch.to_pylist()
    )


@contextmanager
def _csv(schema: pa.Schema, sink: IO[bytes]) -> Iterator[Encode]:
    texts = pa.schema([pa.field(field.name, _csv_type(field.type)) for field in schema])
    head = pyarrow.csv.WriteOptions(include_header=True)
    body = pyarrow.csv.WriteOptions(include_header=False)

    def encoded(batch: pa.RecordBatch, options: pyarrow.csv.WriteOptions) -> bytes:
        buffer = io.BytesIO()
        pyarrow.csv.write_csv(batch, buffer, options)
        return buffer.getvalue()

    def encode(batch: pa.RecordBatch) -> bytes:
        columns = [_csv_column(column, field.type) for column, field in zip(batch.columns, texts, strict=True)]
        return encoded(pa.record_batch(columns, schema=texts), body)

    sink.write(encoded(pa.RecordBatch.from_pylist([], schema=texts), head))
    yield encode


@contextmanager
def _lines(schema: pa.Schema, sink: IO[bytes]) -> Iterator[Encode]:
    def line(values: Iterable[Any]) -> bytes:
        return ("\t".join("" if value is None else shown(value) for value in values) + "\n").encode()

    sink.write(line(schema.names))
    yield lambda batch: b"".join(map(line, zip(*(column.to_pylist() for column in batch.columns), strict=True)))


@contextmanager
def _parquet(schema: pa.Schema, sink: IO[bytes]) -> Iterator[Encode]:
    def encode(batch: pa.RecordBatch) -> bytes:
        writer.write_batch(batch)
        return b""  # the writer writes to the sink itself

    try:
        writer = pq.ParquetWriter(sink, schema, compression="zstd")
        try:
            yield encode
        except BaseException:
            with suppress(Exception):  # the file is discarded; its footer may fail too
                writer.close()
            raise
        writer.close()
    except pa.ArrowNotImplementedError as error:
        raise UserError(f"Parquet cannot store a column of this result: {error}. Cast it: column::VARCHAR") from error


_WRITERS = {"lines": _lines, "csv": _csv, "json": _json, "parquet": _parquet}


_CSV_TYPES = (
    *(types.is_integer, types.is_floating, types.is_boolean, types.is_decimal),
    *(types.is_date, types.is_timestamp, types.is_time, types.is_null),
)


def _csv_type(kind: pa.DataType) -> pa.DataType:
    if types.is_dictionary(kind):
        return _csv_type(kind.value_type)
    return kind if any(is_kind(kind) for is_kind in _CSV_TYPES) else pa.string()


def _csv_column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind or types.is_dictionary(column.type):
        return column.cast(kind)
    return pa.array([None if value is None else _csv_text(value) for value in column.to_pylist()], kind)


def _csv_text(value: Any) -> str:
    if isinstance(value, list | dict | tuple) and not isinstance(value, pa.MonthDayNano):
        return orjson.dumps(value, default=_plain).decode()
    return str(_plain(value))


def _plain(value: Any) -> Any:
    """A JSON value for a Python value that orjson cannot write."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, Decimal):
        if value != value.to_integral_value():
            return float(value)
        whole = int(value)
        return whole if -(2**63) <= whole < 2**64 else str(whole)
    if isinstance(value, pa.MonthDayNano):  # an interval
        return f"{value.months} months {value.days} days {value.nanoseconds / 1e9:g} seconds"
    return str(value)


def _apart(names: Sequence[str]) -> list[str]:
    """Unique names: a second `n` becomes `n_1`."""
    found: list[str] = []
    for name in names:
        number, unique = 0, name
        while unique in found or (number and unique in names):
            number += 1
            unique = f"{name}_{number}"
        found.append(unique)
    return found


_WIDTH = 200  # cells of a table in a file


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears at `path` once it is complete, and not at all if anything fails.

    Raises StoreError if the disk is full or failing, UserError if it cannot be written for another reason.
    """
    temporary = path.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        failed = StoreError if error.errno in DISK_ERRORS else UserError
        raise failed(f"cannot write {path}: {in_words(error)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_outside(file: Path, outputs: Sequence[OutputPaths]) -> None:
    """Raises UserError where `file` is a folder or inside one of the outputs."""
    if file.is_dir():
        raise UserError(f"{file} is a folder. Give a file in it, such as {file}/answer.parquet")
    target = file.absolute().resolve()
    for root in (root for output in outputs for root in output.roots):
        folder = root.local("")
        if folder is not None and target.is_relative_to(folder):
            raise UserError(
                f"{file} is inside the output {folder}, which inspect never changes. Give a file outside it"
            )


@contextmanager
def open_text(file: Path | None, console: Console) -> Iterator[Console]:
    """The console to print tables to: the file, or the given console."""
    if file is None:
        yield console
        return
    with atomic_file(file) as raw:
        text = io.TextIOWrapper(raw, "utf-8", write_through=True)
        yield Console(file=text, width=_WIDTH)
        text.detach()  # atomic_file closes the file


@contextmanager
def open_bytes(file: Path | None, console: Console) -> Iterator[IO[bytes]]:
    """The stream to write rows to: the file, or the console's byte stream."""
    if file is not None:
        with atomic_file(file) as raw:
            yield raw
        return
    buffer = getattr(console.file, "buffer", None)
    if buffer is not None:
        yield buffer
        buffer.flush()
        return
    kept = io.BytesIO()  # a stream of text, as in notebooks
    yield kept
    console.file.write(kept.getvalue().decode())
