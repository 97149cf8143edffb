"""Finds the bytes of one image: in the build, if it has images, else in the source that the index points at."""

from __future__ import annotations

import io
import struct
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

from recaption.errors import DatasetError
from recaption.inspect.layout import Layout
from recaption.inspect.remote import AnyPath

if TYPE_CHECKING:
    import duckdb

_LARGEST = 256 << 20  # bytes that are read for a picture at most


def image_bytes(connection: duckdb.DuckDBPyConnection, layout: Layout, key: str) -> bytes | None:
    """The image's file as it lies in the build or in the source; None if it cannot be found or read."""
    for look in (_in_build, _in_source):
        try:
            if found := look(connection, layout, key):
                return found
        except (OSError, ValueError, DatasetError, tarfile.TarError, struct.error):
            continue
        except Exception as error:
            if type(error).__module__.split(".")[0] not in ("duckdb", "_duckdb"):
                raise
    return None


def _in_build(connection: duckdb.DuckDBPyConnection, layout: Layout, key: str) -> bytes | None:
    rows = connection.execute(
        "SELECT shard, split, \"row\" FROM images WHERE key = ? AND status IN ('ok', 'partial')", [key]
    ).fetchall()
    if not rows or layout.build is None:
        return None
    shard, split, row = rows[0]
    folder = layout.build / "data" / "val" if split == "val" else layout.build / "data"
    if (table := folder / f"{shard}.parquet").is_file():
        found = connection.execute(
            "SELECT image.bytes FROM read_parquet(?) WHERE key = ?", [str(table), key]
        ).fetchall()
        return bytes(found[0][0]) if found and found[0][0] else None
    if not (tar := folder / f"{shard}.tar").is_file():
        return None
    ((before,),) = connection.execute(
        "SELECT count(*) FROM images WHERE shard = ? AND split = ? AND status IN ('ok', 'partial') AND \"row\" < ?",
        [shard, split, row],
    ).fetchall()
    start, end = struct.unpack("<2Q", _read(folder / f"{shard}.tar.idx", 8 * before, 16))
    with tarfile.open(fileobj=io.BytesIO(_read(tar, start, end - start))) as members:
        first = members.next()
        opened = members.extractfile(first) if first and first.name.startswith(f"{key}.") else None
        return opened.read() if opened else None


def _in_source(connection: duckdb.DuckDBPyConnection, layout: Layout, key: str) -> bytes | None:
    files = [str(file) for file in layout.of_run("index")]
    if not files:
        return None
    rows = connection.execute(
        'SELECT path, "offset", size FROM read_parquet(?) WHERE key = ? AND file_row IS NULL LIMIT 1', [files, key]
    ).fetchall()
    return _read(Path(rows[0][0]), rows[0][1], rows[0][2]) if rows else None


def _read(path: AnyPath, start: int, size: int) -> bytes:
    if not 0 < size <= _LARGEST:
        raise ValueError(f"{size} bytes")
    with path.open("rb") as file:
        file.seek(start)
        return bytes(file.read(size))
