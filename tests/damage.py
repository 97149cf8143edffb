"""Ways to break a dataset on disk, and what validate says of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from recaption.problems import Problem
from recaption.validate import validate_output


def found(path: Path | str) -> list[Problem]:
    return list(validate_output(str(path)))


def kinds(path: Path | str) -> set[str]:
    return {problem.kind for problem in found(path)}


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    body = orjson.loads(path.read_bytes())
    change(body)
    path.write_bytes(orjson.dumps(body))


def edit_rows(path: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    """Change the rows of a Parquet file, in place or by a list that is returned."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    result = change(rows)
    rows = result if isinstance(result, list) else rows
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def edit_table(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(path)), path)


def seal(build: Path, *, rows: bool = False) -> None:
    """Let the manifest have the sizes and hashes of the files as they are now; with `rows` those of tables as well."""

    def change(manifest: dict[str, Any]) -> None:
        for file in (file for shard in manifest["shards"] for file in shard["files"]):
            if not (build / file["path"]).exists():
                continue
            data = (build / file["path"]).read_bytes()
            file["bytes"], file["sha256"] = len(data), hashlib.sha256(data).hexdigest()
            if rows and file["path"].endswith(".parquet"):
                file["rows"] = pq.read_metadata(build / file["path"]).num_rows
        total = sum(file["bytes"] for shard in manifest["shards"] for file in shard["files"])
        manifest["counts"]["bytes"] = total

    edit_json(build / "manifest.json", change)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
