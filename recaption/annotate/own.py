"""Tables of a pipeline's own, made in the same pass over a caption as its tags: relations, mentions of a brand, …

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
from recaption.errors import ConfigError, DatasetError
from recaption.types import Caption, SubCaption

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TAKEN = frozenset((*schema.FLAT, "data", "objects", "records", "shards", "answers", "runs", "index", "metrics"))
_TAKEN |= {"regions", "negatives", "triples", "tokens"}


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
                self._rows[table.name].append({**row, "sub_id": sub.sub_id, "key": key})

    def tables(self) -> dict[str, pa.Table]:
        """Each as an Arrow table, in the order in which the sub-captions came.

        Raises DatasetError for rows that do not have the columns of their table.
        """
        return {table.name: self._table(table) for table in self._tables}

    def _table(self, table: OwnTable) -> pa.Table:
        rows, columns = self._rows[table.name], schema.own(table.name, table.columns)
        if unknown := {name for row in rows for name in row} - set(columns.names):
            raise DatasetError(f"table {table.name}: a row has {min(unknown)}; its columns are {columns.names}")
        try:
            made = pa.Table.from_pylist(rows, schema=columns)
            made.validate(full=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DatasetError(f"table {table.name}: a row is not as its columns say: {error}") from error
        return made


def load(names: Sequence[str]) -> tuple[OwnTable, ...]:
    """The classes of `annotate.tables`, built. Raises ConfigError when one cannot be had, or a name will not do."""
    tables = tuple(_built(name) for name in names)
    seen: set[str] = set()
    for given, table in zip(names, tables, strict=True):
        name, version, columns = (getattr(table, part, None) for part in ("name", "version", "columns"))
        if not (isinstance(name, str) and isinstance(version, str) and isinstance(columns, pa.Schema)):
            raise ConfigError(
                f"annotate.tables: {given} needs a name and a version (strings) and columns (a pyarrow.Schema); it has "
                f"{name!r}, {version!r} and {type(columns).__name__}"
            )
        if not _NAME.fullmatch(table.name) or table.name in _TAKEN | seen:
            raise ConfigError(
                f"annotate.tables: {given} names its table {table.name!r}; allowed are lower-case letters, digits "
                f"and _, and no name that is taken ({', '.join(sorted(_TAKEN | seen))})"
            )
        if twice := {"sub_id", "key"} & set(table.columns.names):
            raise ConfigError(f"annotate.tables: {given} has a column {min(twice)} of its own; every row gets one")
        seen.add(table.name)
    return tables


def _built(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        made = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise ConfigError(f"annotate.tables: {name!r} cannot be imported: {error}") from error
    try:
        return made()
    except Exception as error:
        raise ConfigError(f"annotate.tables: {name} cannot be built: {type(error).__name__}: {error}") from error
