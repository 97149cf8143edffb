"""Tables of a pipeline's own, made in the same pass over a caption as its tags: concepts, triples, hard negatives, …

`annotate.tables` names classes as `package.module:Class`. One is built per process, without arguments, and is asked
for rows once for every sub-caption; they are put into every build as `<name>/<shard>.parquet`, sorted by key, and are a
view of `recaption inspect`.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from recaption import schema
from recaption.annotate.kinds import Token
from recaption.errors import ConfigError
from recaption.types import Caption, SubCaption

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TAKEN = frozenset(("data", "images", "captions", "sub_captions", "tags", "objects", "rejects", "records", "shards"))
_TAKEN |= {"answers", "runs", "index", "metrics"}


class OwnTable(Protocol):
    """An annotator that adds a table. Pure: the same sub-caption gives the same rows, whatever came before."""

    name: str
    """Of the table: lower-case letters, digits and `_`."""
    version: str
    """Enters the build fingerprint: raise it whenever a row may change."""
    columns: pa.Schema
    """Of its rows; `sub_id` and `key` are put before them."""

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> Iterable[Mapping[str, Any]]:
        """Rows of one sub-caption. `words` are all of its words with Penn tags; offsets are those of `caption.text`."""
        ...


class Rows:
    """What the tables have said so far."""

    def __init__(self, tables: Sequence[OwnTable]) -> None:
        self._tables = tables
        self._rows: dict[str, list[dict[str, Any]]] = {table.name: [] for table in tables}

    def add(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> None:
        key = caption.caption_id.partition("/")[0]
        for table in self._tables:
            for row in table.rows(sub, words, caption):
                self._rows[table.name].append({"sub_id": sub.sub_id, "key": key, **row})

    def tables(self) -> dict[str, pa.Table]:
        """Each as an Arrow table, in the order in which the sub-captions came."""
        return {
            table.name: pa.Table.from_pylist(self._rows[table.name], schema=schema.own(table.name, table.columns))
            for table in self._tables
        }


def load(names: Sequence[str]) -> tuple[OwnTable, ...]:
    """The classes of `annotate.tables`, built. Raises ConfigError when one cannot be had, or a name will not do."""
    tables = tuple(_imported(name)() for name in names)
    seen: set[str] = set()
    for given, table in zip(names, tables, strict=True):
        if not _NAME.fullmatch(table.name) or table.name in _TAKEN | seen:
            raise ConfigError(
                f"annotate.tables: {given} names its table {table.name!r}; allowed are lower-case letters, digits "
                f"and _, and no name that is taken ({', '.join(sorted(_TAKEN | seen))})"
            )
        if twice := {"sub_id", "key"} & set(table.columns.names):
            raise ConfigError(f"annotate.tables: {given} has a column {min(twice)} of its own; every row gets one")
        seen.add(table.name)
    return tables


def _imported(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"annotate.tables: {name!r} cannot be imported: {error}") from error
