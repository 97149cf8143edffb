"""Runs a user's SQL, reading only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recaption.errors import UserError
from recaption.inspect.statements import Connection, read_statement, storable, unwrapped
from recaption.inspect.stoppable import stoppable
from recaption.inspect.terminal import printable
from recaption.inspect.views import VIEWS

if TYPE_CHECKING:
    import duckdb

Values = Mapping[str, str | int]

SHOWN = 50  # rows on a terminal
COUNTED = 100_000  # rows that are counted beyond those; more are not waited for


@dataclass(frozen=True, kw_only=True, slots=True)
class QueryResult:
    """What a query answered. `rows` are the first ones; `total` is None where there are more than were counted."""

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
    """Run one SELECT (also FROM, WITH, DESCRIBE, SUMMARIZE, SHOW, EXPLAIN) and keep its first `limit` rows (None: all).

    `values` are bound to the statement's `$name`. Raises UserError with DuckDB's message, the views and what to do;
    unless `unsafe`, also for any statement that does more than read.
    """
    columns, types, batches = stream_sql(connection, sql, values=values, unsafe=unsafe)
    rows: list[tuple[Any, ...]] = []
    more = 0
    for batch in batches:
        kept = batch if limit is None else batch[: limit - len(rows)]
        rows += kept
        more += len(batch) - len(kept)
        if more > COUNTED:
            break
    total = None if more > COUNTED else len(rows) + more
    return QueryResult(columns=columns, types=types, rows=tuple(rows), total=total)


def stream_sql(
    connection: duckdb.DuckDBPyConnection | Connection,
    sql: str,
    *,
    values: Values | None = None,
    batch: int = 2048,  # DuckDB's own vectors
    unsafe: bool = False,
) -> tuple[tuple[str, ...], tuple[str, ...], Iterator[list[tuple[Any, ...]]]]:
    """Names and types of the columns, and the rows in batches (memory stays flat). Raises UserError as `run_sql`."""
    import duckdb

    connection = unwrapped(connection)

    def first() -> list[tuple[Any, ...]]:
        connection.execute(statement, _bound(values))
        return list(connection.fetchmany(batch))  # what most queries answer, for one hand-over to the other thread

    def batches() -> Iterator[list[tuple[Any, ...]]]:
        try:
            found = rows
            while found:
                yield found
                found = stoppable(connection, lambda: connection.fetchmany(batch))
        except (duckdb.Error, UnicodeDecodeError) as error:  # some errors only show when the rows are made
            raise UserError(_explained(error)) from error

    try:
        statement = storable(sql) if unsafe else read_statement(connection, sql)
        rows = stoppable(connection, first)
    except (duckdb.Error, UnicodeDecodeError) as error:
        raise UserError(_explained(error)) from error
    description = connection.description or []
    return tuple(str(d[0]) for d in description), tuple(str(d[1]) for d in description), batches()


def arrow_sql(
    connection: duckdb.DuckDBPyConnection | Connection,
    sql: str,
    *,
    values: Values | None = None,
    rows: int = 50_000,
    unsafe: bool = False,
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The same as Arrow: names and types, and batches of about `rows` rows. Raises UserError as `run_sql`."""
    import duckdb

    connection = unwrapped(connection)

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            while (batch := stoppable(connection, lambda: next(reader, None))) is not None:
                yield batch
        except (duckdb.Error, pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise UserError(_explained(error)) from error

    try:
        statement = storable(sql) if unsafe else read_statement(connection, sql)
        answer = connection.sql(statement, params=_bound(values))
        if answer is None:  # a statement that answers nothing; only unsafe ones get here
            return pa.schema([]), iter(())
        read = getattr(answer, "to_arrow_reader", None) or answer.fetch_arrow_reader  # its name before DuckDB 2.0
        reader = stoppable(connection, lambda: read(rows))
    except (duckdb.Error, UnicodeDecodeError) as error:
        raise UserError(_explained(error)) from error
    return reader.schema, batches()


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
        message = f"{message}\ninspect reads the given output and nothing else"
    if type(error).__name__ == "IOException":
        message = (
            f"{message}\nIf a run is writing there at the moment, try again: its small files were just put together"
        )
    return f"{message}\nViews: {', '.join(VIEWS)}. DESCRIBE <view> lists the columns of one"
