"""Reads each file of a build once, from start to end, and hashes it on the way."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from recaption import schema
from recaption.errors import DatasetError
from recaption.formatting import number_of
from recaption.io.files import open_stream
from recaption.io.store import Store
from recaption.problems import Problem
from recaption.types import SCHEMA_VERSION
from recaption.validate.base import problem

_PIECE = 1 << 20  # bytes
_TAIL = 2048  # bytes; a tar header in pax form takes 1536


class Hashed:
    """A stream that records the hash, the size and the last bytes (`tail`) of what was read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0
        self.tail = b""

    def read(self, size: int = _PIECE) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        self.size += len(data)
        self.tail = data[-_TAIL:] if len(data) >= _TAIL else (self.tail + data)[-_TAIL:]
        return data

    def finish(self, file: dict[str, Any]) -> Iterator[Problem]:
        """Read the rest, and compare size and hash with the manifest."""
        while self.read():
            pass
        if self.size != file["bytes"]:
            yield problem("size", file["path"], f"has {self.size:,} bytes; the manifest has {file['bytes']:,}")
        elif self._hash.hexdigest() != file["sha256"]:
            yield problem(
                "sha256", file["path"], f"has sha256 {self._hash.hexdigest()}; the manifest has {file['sha256']}"
            )


@contextmanager
def stream(store: Store, path: str) -> Iterator[Hashed]:
    """The file from start to end. Raises ShardError."""
    with open_stream(f"{store.url}/{path}") as file:
        yield Hashed(file)


@contextmanager
def on_disk(store: Store, file: dict[str, Any], found: list[Problem]) -> Iterator[Path]:
    """The path of a local file, or of a temporary copy of a remote one, for random access. Hashed on the way."""
    local = store.local(file["path"])
    with tempfile.NamedTemporaryFile(prefix="recaption-") as copy, stream(store, file["path"]) as source:
        if local is None:
            while piece := source.read():
                copy.write(piece)
            copy.flush()
        found.extend(source.finish(file))
        yield local or Path(copy.name)


def read_table(store: Store, file: dict[str, Any], expected: pa.Schema, name: str) -> Iterator[Problem | pa.Table]:
    """Problems of the file; the last item is the table, if it can be used."""
    data = store.get(file["path"])
    yield from Hashed(io.BytesIO(data)).finish(file)
    try:
        with pq.ParquetFile(pa.BufferReader(data)) as parquet:
            expected = as_written(parquet.schema_arrow, expected)
            wrong = list(schema_faults(parquet.schema_arrow, expected, name, file["path"]))
            yield from wrong
            if any(p.kind == "columns" for p in wrong):
                return
            table = parquet.read(columns=None if name == "custom" else expected.names, use_threads=False)
        table.validate(full=True)
    except Exception as error:  # noqa: BLE001 - Arrow raises many types for bytes that are not Parquet
        yield unreadable(file["path"], error)
        return
    if table.num_rows != file["rows"]:
        rows = number_of(table.num_rows, "row")
        yield problem("rows", file["path"], f"has {rows}; the manifest has {file['rows']:,}")
    yield table


def as_written(found: pa.Schema, expected: pa.Schema) -> pa.Schema:
    """The columns of `expected` that existed in the version that wrote the file."""
    version = (found.metadata or {}).get(schema.VERSION_KEY, SCHEMA_VERSION.encode())
    return schema.as_of(expected, version.decode("utf-8", "replace"))


def schema_faults(found: pa.Schema, expected: pa.Schema, name: str, path: str) -> Iterator[Problem]:
    """Missing, unknown and mistyped columns; an unknown version or table name in the metadata."""
    metadata = found.metadata or {}
    try:
        schema.check_version(found, path)
    except DatasetError as error:
        yield problem("version", path, str(error))
        return
    table = metadata.get(schema.TABLE_KEY, b"").decode("utf-8", "replace")
    if name != "custom" and table != name:
        yield problem("columns", path, f"its metadata has the table name {table!r}, expected {name}")
    for field in expected:
        at = found.get_all_field_indices(field.name)
        if len(at) != 1:
            yield problem("columns", path, f"has {len(at)} columns named {field.name}, expected one")
        elif not found.field(at[0]).equals(field):
            other = found.field(at[0])
            types = (f"{f.type}{'' if f.nullable else ' not null'}" for f in (other, field))
            yield problem("columns", path, "column {} has type {}, expected {}".format(field.name, *types))
    more = [column for column in found.names if column not in expected.names]
    if (
        more
        and name != "custom"
        and schema.minor(metadata[schema.VERSION_KEY].decode()) <= schema.minor(SCHEMA_VERSION)
    ):
        yield problem("columns", path, f"has columns that are not part of the format: {', '.join(more)}")


def unreadable(path: str, error: BaseException) -> Problem:
    """The problem of a file that cannot be read."""
    return problem("unreadable", path, f"{type(error).__name__}: {error}".splitlines()[0])


def damaged(path: str, error: DatasetError) -> Problem:
    """The problem of a file of the output, not of a build, that cannot be read. The error has the advice."""
    return replace(problem("damaged", path, "cannot be read"), advice=str(error))


def missing(store: Store, path: str) -> Iterator[Problem]:
    """A problem if there is no file at the path."""
    if not store.exists(path):
        yield problem("missing file", path, "is missing, or is not a file")
