"""Data files in Parquet: sidecars, and records with their images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recaption import schema
from recaption.problems import Problem
from recaption.validate.files import as_written, on_disk, schema_faults, unreadable
from recaption.validate.images import check_image
from recaption.validate.kinds import problem
from recaption.validate.shard import Shard
from recaption.write.pixels import SUFFIXES

_BATCH = 64  # rows; images of 10 MB then take 640 MB


def read_data(shard: Shard, file: dict[str, Any]) -> Iterator[Problem]:
    """Read a data file into `shard.found`, a batch of images at a time."""
    images = shard.manifest["format"] == "parquet"
    found: list[Problem] = []
    try:
        with on_disk(shard.build.store, file, found) as path:
            yield from found
            with pq.ParquetFile(path) as parquet:
                yield from _read(shard, file, parquet, images)
    except Exception as error:  # noqa: BLE001 - Arrow says in many ways that bytes are no Parquet
        yield unreadable(file["path"], error)


def _read(shard: Shard, file: dict[str, Any], parquet: pq.ParquetFile, images: bool) -> Iterator[Problem]:
    expected = as_written(parquet.schema_arrow, schema.records(shard.tokenizers, image=images))
    wrong = list(schema_faults(parquet.schema_arrow, expected, "records", file["path"]))
    yield from wrong
    if wrong:
        return
    names = [name for name in schema.records(shard.tokenizers).names if name in expected.names]
    pieces = []
    for batch in parquet.iter_batches(batch_size=_BATCH, columns=expected.names, use_threads=False):
        table = pa.Table.from_batches([batch])
        table.validate(full=True)
        if images:
            for i in range(table.num_rows):
                yield from _check_image(
                    shard, {name: table[name][i] for name in table.column_names if name != "captions"}, file
                )
        pieces.append(table.select(names))
    rows = sum(piece.num_rows for piece in pieces)
    if rows != file["rows"]:
        yield problem("rows", file["path"], f"has {rows:,} rows; the manifest says {file['rows']:,}")
    whole = pa.concat_tables(pieces) if pieces else schema.records(shard.tokenizers).empty_table()
    shard.found[file["split"]] = whole.replace_schema_metadata(None)


def _check_image(shard: Shard, row: dict[str, Any], file: dict[str, Any]) -> Iterator[Problem]:
    key, name, data = row["key"].as_py(), row["image"]["path"].as_py(), row["image"]["bytes"].as_buffer()
    said = {n: row[n].as_py() for n in ("image_format", "image_sha256", "source_format", "sha256")}
    orientation = row["orientation"].as_py() if "orientation" in row else None  # since 1.3
    where = f"{file['path']}, {key}"
    if data is None or hashlib.sha256(data).hexdigest() != said["image_sha256"]:
        yield problem("image", where, "the bytes do not have the sha256 that image_sha256 says")
    elif name != f"{key}.{SUFFIXES.get(said['image_format'])}":
        yield problem("image", where, f"is named {name!r}, of format {said['image_format']!r}")
    elif (
        orientation is None and said["image_format"] == said["source_format"] and said["image_sha256"] != said["sha256"]
    ):
        yield problem("image", where, "is said to be the source's bytes, but has another sha256")
    else:
        yield from check_image(shard, data.to_pybytes(), where)
