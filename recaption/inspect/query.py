"""Runs read-only SQL of users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recaption.errors import UserError
from recaption.formatting import printable
from recaption.inspect.statements import Connection, read_statement, storable, unwrapped
from recaption.inspect.stoppable import stoppable
from recaption.inspect.views import VIEWS

if TYPE_CHECKING:
    import duckdb

Values = Mapping[str, str | int]

SHOWN = 50  # rows on a terminal
_BATCH = 2048  # rows that are fetched at a time: the size of DuckDB's vectors
COUNTED = 100_000  # further rows that are counted


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryResult:
    """The first `rows` of a query. `total` is None if the query has more rows than are counted."""

    columns: tuple[str, ...]
    types: tuple[str, ...]  # DuckDB's names
    rows: tuple[tuple[Any, ...], ...]
    total: int | None


def run_sql(
    connection: duckdb.DuckDBPyConnection | Connection,
    sql: str,
    *,
    values: Values | None = None,
    limit: int | None = SHOWN,
    unsafe: bool = False,
) -> QueryResult:
    """Run one SELECT (or FROM, WITH, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN) and keep its first `limit` rows (None: all).

    `values` are bound to the statement's `$name`. Raises UserError with DuckDB's message, the views and what to do;
    unless `unsafe`, also for any statement that does more than read.
    """
    connection = unwrapped(connection)
    rows: list[tuple[Any, ...]] = []
    more = 0
    with _sql_errors():
        statement = storable(sql) if unsafe else read_statement(connection, sql)
        batch = stoppable(connection, lambda: connection.execute(statement, _bound(values)).fetchmany(_BATCH))
        description = connection.description or []
        while batch and more <= COUNTED:
            kept = batch if limit is None else batch[: limit - len(rows)]
            rows += kept
            more += len(batch) - len(kept)
            batch = stoppable(connection, lambda: connection.fetchmany(_BATCH))
    return QueryResult(
        columns=tuple(str(d[0]) for d in description),
        types=tuple(str(d[1]) for d in description),
        rows=tuple(rows),
        total=None if more > COUNTED else len(rows) + more,
    )


def arrow_sql(
    connection: duckdb.DuckDBPyConnection | Connection,
    sql: str,
    *,
    values: Values | None = None,
    rows: int = 50_000,
    unsafe: bool = False,
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The result as Arrow: its schema, and batches of about `rows` rows. Raises UserError like `run_sql`."""
    connection = unwrapped(connection)
    with _sql_errors():
        statement = storable(sql) if unsafe else read_statement(connection, sql)
        answer = connection.sql(statement, params=_bound(values))
        if answer is None:  # a statement without a result, which only `unsafe` allows
            return pa.schema([]), iter(())
        read = getattr(answer, "to_arrow_reader", None) or answer.fetch_arrow_reader  # its name before DuckDB 2.0
        reader = stoppable(connection, lambda: read(rows))

    def batches() -> Iterator[pa.RecordBatch]:
        with _sql_errors():
            while (batch := stoppable(connection, lambda: next(reader, None))) is not None:
                yield batch

    return reader.schema, batches()


@contextmanager
def _sql_errors() -> Iterator[None]:
    """Turn errors of a statement, also those that occur when rows are fetched, into UserError."""
    import duckdb

    try:
        yield
    except (duckdb.Error, pa.ArrowException, UnicodeDecodeError) as error:
        raise UserError(_explained(error)) from error


def _bound(values: Values | None) -> dict[str, str | int] | None:
    if not values:
        return None
    return {name: storable(value) if isinstance(value, str) else value for name, value in values.items()}


def _explained(error: Exception) -> str:
    text = str(error)
    if isinstance(error, UnicodeDecodeError):  # DuckDB's message quotes a part of a character
        text = error.object.decode("utf-8", "replace")
    message = "\n".join(map(printable, text.strip().splitlines()))  # quotes the data
    if "file system operations are disabled" in message:
        message = f"{message}\ninspect reads the given outputs only"
    if type(error).__name__ == "IOException":
        message = f"{message}\nIf a run is writing to the output, try again: it may have compacted its small files"
    return f"{message}\nViews: {', '.join(VIEWS)}. DESCRIBE <view> lists the columns of one"
