"""Writes rows as CSV, JSON lines or Parquet, batch by batch, so that memory stays flat however many there are.

Values are written as they are stored; only where the sink is a terminal are texts made safe (`recaption.inspect.safe`).
- csv (RFC 4180): texts are quoted, null is nothing at all and the empty text is `""`; lists and structs are JSON,
  bytes base64.
- json: one object a line (https://jsonlines.org), as DuckDB's own COPY … (FORMAT json) writes it; bytes base64,
  whole numbers beyond 64 bits as texts.
- parquet: zstd, a row group per batch.
- lines, which is what pipes get without a format: values between tabs, for `cut`, `sort` and the eye. Tabs, line ends
  and control characters in values become spaces or vanish; null is empty.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from recaption.errors import UserError
from recaption.inspect.safe import clean
from recaption.inspect.table import shown

FORMATS = ("table", "csv", "json", "parquet")
_SUFFIXES = {".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json", ".parquet": "parquet"}


def format_of(path: Path) -> str:
    """The format that a file's suffix names. Raises UserError where it names none."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"{path} does not say its format: give --format, or a name that ends in {', '.join(_SUFFIXES)}")
    return _SUFFIXES[path.suffix.lower()]


def write_batches(
    schema: pa.Schema, batches: Iterator[pa.RecordBatch], sink: IO[bytes], format: str, *, terminal: bool = False
) -> int:
    """Write all rows and return how many.

    `format` is csv, json, parquet or lines; `terminal` makes texts safe to be seen. Raises UserError for a column type
    that Parquet has no place for, and for a value that cannot be written.
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
            except (ValueError, OverflowError) as error:  # a date beyond the years of Python, …
                raise UserError(
                    f"{format} cannot hold a value of this answer: {error}. Cast its column: column::VARCHAR"
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
    return "\n".join(map(clean, lines.decode("utf-8").split("\n"))).encode()


Encode = Callable[[pa.RecordBatch], bytes]  # what a batch is in the file


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
        return b""  # the writer has the sink itself

    try:
        writer = pq.ParquetWriter(sink, schema, compression="zstd")
        try:
            yield encode
        except BaseException:
            with suppress(Exception):  # the file is thrown away; its footer may not fit either
                writer.close()
            raise
        writer.close()
    except pa.ArrowNotImplementedError as error:
        raise UserError(f"Parquet cannot hold a column of this answer: {error}. Cast it: column::VARCHAR") from error


_WRITERS = {"lines": _lines, "csv": _csv, "json": _json, "parquet": _parquet}


def _csv_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _csv_type(kind.value_type)
    plain = (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )
    timed = pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind)
    return kind if plain or timed or pa.types.is_null(kind) else pa.string()


def _csv_column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if column.type == kind or pa.types.is_dictionary(column.type):
        return column.cast(kind)
    return pa.array([None if value is None else _csv_text(value) for value in column.to_pylist()], kind)


def _csv_text(value: Any) -> str:
    if isinstance(value, list | dict | tuple) and not isinstance(value, pa.MonthDayNano):
        return orjson.dumps(value, default=_plain).decode()
    return str(_plain(value))


def _plain(value: Any) -> Any:
    """What orjson does not know, as what JSON has."""
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
    """The names, each once: a second `n` becomes `n_1`."""
    found: list[str] = []
    for name in names:
        number, unique = 0, name
        while unique in found or (number and unique in names):
            number += 1
            unique = f"{name}_{number}"
        found.append(unique)
    return found
