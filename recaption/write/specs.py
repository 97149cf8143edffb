"""The key `tables` of a manifest describes tables of tasks and of `annotate.tables` to readers without their code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from recaption import schema
from recaption.errors import DatasetError
from recaption.tasks.base import TableSpec
from recaption.write.entry import ShardEntry


def spec_json(spec: TableSpec) -> dict[str, Any]:
    """The entry in the manifest; `type` is the Arrow type of a column."""
    columns = [
        {
            "name": column.name,
            "type": str(column.type),
            "description": (column.metadata or {}).get(b"description", b"").decode(),
            "nullable": column.nullable,
        }
        for column in spec.columns
    ]
    made = {"name": spec.name, "parent": spec.parent, "description": spec.description, "columns": columns}
    return made if spec.generated else {**made, "generated": False}


def spec_from_json(data: Mapping[str, Any]) -> TableSpec:
    """The table that a manifest describes. The manifest must be valid. Raises ValueError as TableSpec does."""
    columns = [
        schema.column(one["name"], schema.arrow_type(one["type"]), one["description"], null=one["nullable"])
        for one in data["columns"]
    ]
    return TableSpec(
        name=data["name"],
        columns=pa.schema(columns),
        parent=data["parent"],
        description=data["description"],
        generated=data.get("generated", True),
    )


def specs_of(manifest: Mapping[str, Any]) -> dict[str, TableSpec]:
    """The listed tables by name. Before 1.3 there are none."""
    return {spec.name: spec for spec in map(spec_from_json, manifest.get("tables", ()))}


def check_tables(shards: Sequence[ShardEntry], tables: Sequence[TableSpec]) -> None:
    """Raises DatasetError if a shard lacks the file of a listed table. A table without rows has a file too."""
    for entry in shards:
        for name in sorted({spec.name for spec in tables} - {file.table for file in entry.files}):
            raise DatasetError(
                f"no file of the table {name}: pass one to write_shard, even if it has no rows", shard=entry.name
            )
