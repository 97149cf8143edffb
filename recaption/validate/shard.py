"""One shard of a build as it was read: what its checks look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from recaption.validate.manifest import Manifest
from recaption.write import Build

USABLE = ("ok", "partial")


@dataclass(kw_only=True)
class Shard:
    """`tables` holds the flat tables that could be read, `found` what the data files hold, by split (None: both): the
    columns of `schema.records`, a row per sample, without pixels; `tokens` the files of token ids, by path. `answers`
    is what was read of the output once for all shards."""

    build: Build
    manifest: Manifest
    entry: dict[str, Any]
    tables: dict[str, pa.Table] = field(default_factory=dict)
    found: dict[str | None, pa.Table] = field(default_factory=dict)
    tokens: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    pixels: bool = False  # decode all images

    @property
    def name(self) -> str:
        return str(self.entry["name"])

    @property
    def tokenizers(self) -> list[str]:
        return list(self.manifest["tokenizers"])

    def path(self, table: str) -> str:
        """Of a flat table, relative to the build."""
        return f"{table}/{self.name}.parquet"

    def column(self, table: str, name: str) -> list[Any]:
        """A column's values."""
        values: list[Any] = self.tables[table][name].to_pylist()
        return values

    def columns(self, table: str, *names: str) -> Any:
        """Rows of these columns."""
        return zip(*(self.column(table, name) for name in names), strict=True)

    @cached_property
    def usable(self) -> frozenset[str]:
        """Keys of the images that have captions."""
        return frozenset(key for key, status in self.columns("images", "key", "status") if status in USABLE)
