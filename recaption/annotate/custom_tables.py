"""Custom tables of a pipeline, made in the same pass over a caption as its tags: relations, mentions of a brand, …

`annotate.tables` names shipped tables (`tables.registry`) and classes as `package.module:Class`. Each class is
instantiated once per process, without arguments; its method `rows` is called once per sub-caption. Every build stores
the rows as `<name>/<shard>.parquet`, sorted by key, and `recaption inspect` has a view of them. If `rows` raises an
error for a caption, or returns rows that do not match `columns`, the table has no rows for this caption, and the
caption is counted. `rows` is not called for captions that could not be parsed.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from recaption import schema
from recaption.annotate.tables.registry import TABLES
from recaption.annotate.tagged_words import Token
from recaption.errors import ConfigError, DatasetError
from recaption.guard import Failed, attempt
from recaption.tasks import registry as tasks
from recaption.tasks.base import TableSpec
from recaption.types import Caption, CaptionFailure, SubCaption

_CaptionRows = tuple[str, list[dict[str, Any]]]  # caption_id, the rows of the caption


class CustomTable(Protocol):
    """A class that adds a table. It must be pure: the same sub-caption always gives the same rows.

    If it has an attribute `description`, a string, the manifest lists the table with its columns. `recaption validate`
    then checks that columns `<part>_start` and `<part>_end` are spans within the sub-caption.
    """

    name: str
    """Name of the table: 1 to 32 lower-case letters, digits and `_`, starting with a letter."""
    version: str
    """Enters the build fingerprint: raise it whenever a row may change."""
    columns: pa.Schema
    """Columns of the rows. `sub_id` and `key` are added in front of them."""

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> Iterable[Mapping[str, Any]]:
        """The rows of one sub-caption, without `sub_id` and `key`.

        `words` are all words of the sub-caption, with Penn tags. Their offsets are code points in `caption.text`.
        """
        ...


class CustomRows:
    """Collects the rows of custom tables. If a table fails on a caption, it has no rows for this caption."""

    def __init__(self, tables: Sequence[CustomTable]) -> None:
        self._tables = tables
        self._columns = {table.name: schema.custom_table(table.name, table.columns) for table in tables}
        self._rows: dict[str, list[_CaptionRows]] = {table.name: [] for table in tables}

    def add(self, caption: Caption, words: Sequence[Sequence[Token]]) -> list[CaptionFailure]:
        """Add the rows of an annotated caption; `words` has the words of each sub-caption. Returns what failed."""
        failures = []
        for table in self._tables:
            rows = attempt(self._rows_of, table, caption, words)
            if isinstance(rows, Failed):
                failures.append(CaptionFailure(caption_id=caption.caption_id, table=table.name, error=rows.error))
            elif rows:
                self._rows[table.name].append((caption.caption_id, rows))
        return failures

    def tables(self) -> tuple[dict[str, pa.Table], list[CaptionFailure]]:
        """The rows of each table in the order of the sub-captions, and the captions whose rows do not match the
        types of the columns."""
        made: dict[str, pa.Table] = {}
        failures: list[CaptionFailure] = []
        for table in self._tables:
            rows = self._rows[table.name]
            together = attempt(self._arrow, table.name, rows)
            if isinstance(together, Failed):
                good = []
                for of_caption in rows:
                    alone = attempt(self._arrow, table.name, [of_caption])
                    if isinstance(alone, Failed):
                        failures.append(CaptionFailure(caption_id=of_caption[0], table=table.name, error=alone.error))
                    else:
                        good.append(of_caption)
                together = self._arrow(table.name, good)
            made[table.name] = together
        return made, failures

    def _rows_of(self, table: CustomTable, caption: Caption, words: Sequence[Sequence[Token]]) -> list[dict[str, Any]]:
        key = caption.caption_id.partition("/")[0]
        known = set(self._columns[table.name].names)
        rows = []
        for sub, of_sub in zip(caption.sub_captions, words, strict=True):
            for row in table.rows(sub, of_sub, caption):
                full = {**row, "sub_id": sub.sub_id, "key": key}
                if not full.keys() <= known:
                    unknown = min(map(str, full.keys() - known))
                    raise DatasetError(f"table {table.name}: a row has {unknown}; its columns are {sorted(known)}")
                rows.append(full)
        return rows

    def _arrow(self, name: str, rows: Sequence[_CaptionRows]) -> pa.Table:
        """Raises DatasetError or an error of Arrow if a row does not match the columns of the table."""
        columns = self._columns[name]
        table = pa.Table.from_pylist([row for _, of_caption in rows for row in of_caption], schema=columns)
        table.validate(full=True)
        for field in columns:
            if not field.nullable and table[field.name].null_count:
                raise DatasetError(f"table {name}: a row has no {field.name}, and that column is not nullable")
        return table


def load_tables(names: Sequence[str]) -> tuple[CustomTable, ...]:
    """Instances of the tables in `annotate.tables`.

    Raises ConfigError for an unknown name, or if a class cannot be imported or instantiated, lacks an attribute, or has
    an invalid, reserved or repeated table name.
    """
    tables = tuple(_instance(name) for name in names)
    seen: set[str] = set()
    for given, table in zip(names, tables, strict=True):
        name, version, columns = (getattr(table, part, None) for part in ("name", "version", "columns"))
        if not (isinstance(name, str) and isinstance(version, str) and isinstance(columns, pa.Schema)):
            raise ConfigError(
                f"annotate.tables: {given} needs a name and a version (strings) and columns (a pyarrow.Schema); it has "
                f"{name!r}, {version!r} and {type(columns).__name__}"
            )
        if not schema.TABLE_NAME.fullmatch(table.name):
            raise ConfigError(
                f"annotate.tables: {given} has the table name {table.name!r}; allowed: 1 to 32 lower-case letters, "
                "digits and _, starting with a letter"
            )
        taken = (
            schema.RESERVED | tasks.shipped_tables().keys() | seen | (TABLES.keys() if given not in TABLES else set())
        )
        if table.name in taken:
            raise ConfigError(
                f"annotate.tables: {given} has the table name {table.name!r}, which is taken. Choose another than "
                f"{', '.join(sorted(taken))}"
            )
        if added := {"sub_id", "key"} & set(table.columns.names):
            raise ConfigError(
                f"annotate.tables: {given} has the column {min(added)}, which recaption adds to every row. Rename it"
            )
        seen.add(table.name)
        try:
            described([table])
        except ValueError as error:
            raise ConfigError(f"annotate.tables: {given}: {error}") from error
    return tables


def described(tables: Iterable[CustomTable]) -> list[TableSpec]:
    """The tables that have a description, as the manifest lists them. Raises ValueError like `TableSpec`."""
    sub_id = schema.column("sub_id", pa.string(), "sub-caption that the row is about")
    return [
        TableSpec(
            name=table.name,
            columns=pa.schema([sub_id, *table.columns]),
            parent="sub_caption",
            description=description,
            generated=False,
        )
        for table in tables
        if isinstance(description := getattr(table, "description", None), str)
    ]


def shipped_tables() -> dict[str, TableSpec]:
    """The shipped tables by name. Imports all of them."""
    return {spec.name: spec for spec in described(load_tables(tuple(TABLES)))}


def _instance(name: str) -> Any:
    if ":" not in name and name not in TABLES:
        raise ConfigError(
            f"annotate.tables: unknown table {name!r}; allowed: {', '.join(TABLES)} and package.module:Class"
        )
    module, _, attribute = TABLES.get(name, name).partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError, SyntaxError) as error:
        raise ConfigError(f"annotate.tables: {name!r} cannot be imported: {error}") from error
    try:
        return cls()
    except Exception as error:
        raise ConfigError(f"annotate.tables: {name} cannot be instantiated: {type(error).__name__}: {error}") from error
