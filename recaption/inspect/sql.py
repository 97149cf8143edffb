"""Builds and runs the SQL of recaption itself, as opposed to the user's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace as Row
from typing import TYPE_CHECKING, Any

from recaption.inspect.stoppable import stoppable

if TYPE_CHECKING:
    import duckdb

__all__ = ["Row", "Values", "fetch", "fetch_rows", "identifier", "placeholders", "quoted"]

Values = Sequence[Any] | Mapping[str, Any]


def quoted(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """The quoted name of a column."""
    return '"' + name.replace('"', '""') + '"'


def placeholders(values: Sequence[Any]) -> str:
    """`(?, ?, …)`, a placeholder for each value."""
    return f"({', '.join('?' for _ in values)})"


def has_view(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether there is a view with this name: a table of a task or a custom table of the build."""
    return bool(fetch(connection, "SELECT 1 FROM duckdb_views() WHERE view_name = ? AND NOT internal", [name]))


def fetch(connection: duckdb.DuckDBPyConnection, sql: str, values: Values = ()) -> list[tuple[Any, ...]]:
    """All rows of a query. Ctrl-C cancels it; raises as `stoppable`."""
    return stoppable(connection, lambda: connection.execute(sql, values or None).fetchall())


def fetch_rows(connection: duckdb.DuckDBPyConnection, sql: str, values: Values = ()) -> list[Row]:
    """All rows of a query, with their columns as attributes. Raises as `fetch`."""
    rows = fetch(connection, sql, values)
    names = [column[0] for column in connection.description or ()]
    return [Row(**dict(zip(names, row, strict=True))) for row in rows]
