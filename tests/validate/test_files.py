"""Problems of single files: bytes, sizes, hashes, columns."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from damage import check_found, flip, in_manifest, in_table, truncated

from recaption import schema


def with_metadata(name: str, version: str) -> Callable[[pa.Table], pa.Table]:
    metadata = {schema.VERSION_KEY: version.encode(), schema.TABLE_KEY: name.encode()}
    return lambda table: table.replace_schema_metadata(metadata)


def wider_count(tags: pa.Table) -> pa.Table:
    return tags.set_column(tags.column_names.index("count"), "count", tags["count"].cast(pa.int64()))


def all_nullable(table: pa.Table) -> pa.Table:
    return table.cast(pa.schema([field.with_nullable(True) for field in table.schema], table.schema.metadata))


def rows_of(table: str) -> Callable[[dict[str, Any]], None]:
    return lambda body: next(f for f in body["shards"][0]["files"] if f["table"] == table).update(rows=99)


def one_byte_more(body: dict[str, Any]) -> None:
    body["shards"][0]["files"][0]["bytes"] += 1
    body["counts"]["bytes"] += 1


def padding(build: Path) -> None:
    with tarfile.open(build / "data/00000.tar") as opened:
        text = opened.getmembers()[1]
    flip(build / "data/00000.tar", text.offset_data + text.size)


FILES: list[tuple[str, str, str, Callable[[Path], Any]]] = [
    ("version", "parquet", "newer table", in_table("tags/00000.parquet", with_metadata("tags", "2.0"))),
    ("version", "parquet", "invalid version", in_table("data/00000.parquet", with_metadata("records", "new"))),
    ("missing file", "webdataset", "tar", lambda b: (b / "data/val/00000.tar").unlink()),
    ("missing file", "sidecar", "table", lambda b: (b / "tags/00001.parquet").unlink()),
    ("size", "webdataset", "table", in_manifest(one_byte_more)),
    ("sha256", "webdataset", "padding of a tar", padding),
    ("sha256", "parquet", "table", in_manifest(lambda m: m["shards"][1]["files"][-1].update(sha256="0" * 64))),
    ("unreadable", "sidecar", "table cut off", truncated("captions/00000.parquet", -9)),
    ("rows", "sidecar", "table", in_manifest(rows_of("rejects"))),
    ("rows", "sidecar", "data", in_manifest(rows_of("data"))),
    ("columns", "parquet", "missing", in_table("captions/00000.parquet", lambda t: t.drop_columns(["lang"]))),
    ("columns", "parquet", "of another type", in_table("tags/00000.parquet", wider_count)),
    (
        "columns",
        "parquet",
        "unknown column",
        in_table("images/00000.parquet", lambda t: t.append_column("extra", pa.array(["x"] * len(t)))),
    ),
    ("columns", "sidecar", "of the data", in_table("data/00000.parquet", lambda t: t.drop_columns(["url"]))),
    ("columns", "sidecar", "nullable", in_table("rejects/00000.parquet", all_nullable)),
    ("columns", "sidecar", "another table", in_table("rejects/00000.parquet", with_metadata("images", "1.3"))),
]
"""Kind of the problem, format, a name, and the damage to the build."""


@pytest.mark.parametrize(("kind", "format", "name", "damage"), FILES, ids=[f"{k}: {n}, {f}" for k, f, n, _ in FILES])
def test_damaged_files_are_found(kind: str, format: str, name: str, damage: Any, out: Path) -> None:
    check_found(kind, format, damage, out)
