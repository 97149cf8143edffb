"""Custom tables of a pipeline, made in the same pass over a caption as its tags: relations, mentions of a brand, …

`annotate.tables` names classes as `package.module:Class`. Each class is instantiated once per process, without
arguments, and called once per sub-caption for its rows. Every build stores the rows as `<name>/<shard>.parquet`, sorted
by key, and `recaption inspect` has a view of them. If a class raises an error, or returns rows that do not fit its
columns, the rows of that caption are missing in its table, and the caption is counted. It is not called for captions
that could not be parsed.
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
from recaption.guard import Failed, attempt
from recaption.types import Caption, CaptionFailure, SubCaption

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TAKEN = frozenset((*schema.FLAT, "data", "objects", "records", "shards", "answers", "runs", "index", "metrics"))
_TAKEN |= {"regions", "negatives", "triples", "tokens"}


_OfCaption = tuple[str, list[dict[str, Any]]]  # caption_id, its rows


class OwnTable(Protocol):
    """An annotator that adds a table. It must be pure: the same sub-caption always gives the same rows."""

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
    """The rows that the tables have given so far. Where a table fails on a caption, the caption has no rows in it."""

    def __init__(self, tables: Sequence[OwnTable]) -> None:
        self._tables = tables
        self._columns = {table.name: schema.own(table.name, table.columns) for table in tables}
        self._rows: dict[str, list[_OfCaption]] = {table.name: [] for table in tables}

    def add(self, caption: Caption, words: Sequence[Sequence[Token]]) -> list[CaptionFailure]:
        """Ask every table for the rows of a caption; `words` are those of each sub-caption. Returns what failed."""
        failures = []
        for table in self._tables:
            rows = attempt(self._asked, table, caption, words)
            if isinstance(rows, Failed):
                failures.append(CaptionFailure(caption_id=caption.caption_id, table=table.name, error=rows.error))
            elif rows:
                self._rows[table.name].append((caption.caption_id, rows))
        return failures

    def tables(self) -> tuple[dict[str, pa.Table], list[CaptionFailure]]:
        """Each as an Arrow table, in the order in which the sub-captions came, and captions whose rows do not have the
        types of their columns."""
        made: dict[str, pa.Table] = {}
        failures: list[CaptionFailure] = []
        for table in self._tables:
            of_captions = self._rows[table.name]
            whole = attempt(self._table, table.name, of_captions)
            if isinstance(whole, Failed):
                good = []
                for one in of_captions:
                    alone = attempt(self._table, table.name, [one])
                    if isinstance(alone, Failed):
                        failures.append(CaptionFailure(caption_id=one[0], table=table.name, error=alone.error))
                    else:
                        good.append(one)
                whole = self._table(table.name, good)
            made[table.name] = whole
        return made, failures

    def _asked(self, table: OwnTable, caption: Caption, words: Sequence[Sequence[Token]]) -> list[dict[str, Any]]:
        key = caption.caption_id.partition("/")[0]
        known = set(self._columns[table.name].names)
        rows = []
        for sub, of_sub in zip(caption.sub_captions, words, strict=True):
            for row in table.rows(sub, of_sub, caption):
                made = {**row, "sub_id": sub.sub_id, "key": key}
                if not made.keys() <= known:
                    unknown = min(map(str, made.keys() - known))
                    raise DatasetError(f"table {table.name}: a row has {unknown}; its columns are {sorted(known)}")
                rows.append(made)
        return rows

    def _table(self, name: str, of_captions: Sequence[_OfCaption]) -> pa.Table:
        columns = self._columns[name]
        made = pa.Table.from_pylist([row for _, rows in of_captions for row in rows], schema=columns)
        made.validate(full=True)
        for field in columns:
            if not field.nullable and made[field.name].null_count:
                raise DatasetError(f"table {name}: a row has no {field.name}, and that column is not nullable")
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
