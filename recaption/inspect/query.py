"""Runs a user's SQL, reading only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from recaption.errors import UserError
from recaption.inspect.safe import clean
from recaption.inspect.stoppable import stoppable
from recaption.inspect.views import VIEWS

if TYPE_CHECKING:
    import duckdb

Values = Mapping[str, str | int]

SHOWN = 50  # rows on a terminal
COUNTED = 100_000  # rows that are counted beyond those; more are not waited for

_READS = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
# Functions that run SQL which is a text at this point, and may be put together from pieces: nobody can look into it.
_RUN_TEXT = {"query", "json_execute_serialized_sql"}
_EXPLAIN = re.compile(r"\s*EXPLAIN\b(?:\s+ANALYZE\b)?(?:\s*\([^)]*\))?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What a query answered. `rows` are the first ones; `total` is None where there are more than were counted."""

    columns: tuple[str, ...]
    types: tuple[str, ...]  # DuckDB's names
    rows: tuple[tuple[Any, ...], ...]
    total: int | None


def run_sql(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    *,
    values: Values | None = None,
    limit: int | None = SHOWN,
    unsafe: bool = False,
) -> Answered:
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
    return Answered(columns=columns, types=types, rows=tuple(rows), total=total)


def stream_sql(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    *,
    values: Values | None = None,
    batch: int = 2048,  # DuckDB's own vectors
    unsafe: bool = False,
) -> tuple[tuple[str, ...], tuple[str, ...], Iterator[list[tuple[Any, ...]]]]:
    """Names and types of the columns, and the rows in batches (memory stays flat). Raises UserError as `run_sql`."""
    import duckdb

    def first() -> list[tuple[Any, ...]]:
        connection.execute(sql, dict(values) if values else None)
        return list(connection.fetchmany(batch))  # what most queries answer, for one hand-over to the other thread

    def batches() -> Iterator[list[tuple[Any, ...]]]:
        try:
            found = rows
            while found:
                yield found
                found = stoppable(connection, lambda: connection.fetchmany(batch))
        except duckdb.Error as error:  # some errors only show when the rows are made
            raise UserError(_explained(error)) from error

    try:
        if not unsafe:
            _only_reads(connection, sql)
        rows = stoppable(connection, first)
    except duckdb.Error as error:
        raise UserError(_explained(error)) from error
    description = connection.description or []
    return tuple(str(d[0]) for d in description), tuple(str(d[1]) for d in description), batches()


def arrow_sql(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    *,
    values: Values | None = None,
    rows: int = 50_000,
    unsafe: bool = False,
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The same as Arrow: names and types, and batches of about `rows` rows. Raises UserError as `run_sql`."""
    import duckdb

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            while (batch := stoppable(connection, lambda: next(reader, None))) is not None:
                yield batch
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise UserError(_explained(error)) from error

    try:
        if not unsafe:
            _only_reads(connection, sql)
        answer = connection.sql(sql, params=dict(values) if values else None)
        if answer is None:  # a statement that answers nothing; only unsafe ones get here
            return pa.schema([]), iter(())
        read = getattr(answer, "to_arrow_reader", None) or answer.fetch_arrow_reader  # its name before DuckDB 2.0
        reader = stoppable(connection, lambda: read(rows))
    except duckdb.Error as error:
        raise UserError(_explained(error)) from error
    return reader.schema, batches()


def _only_reads(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Refuses whatever is not one reading statement. A SELECT can write too: WITH x AS (COPY …), since DuckDB 2.0."""
    import duckdb

    found = connection.extract_statements(sql)
    if not found:
        raise UserError(f"there is no SQL in {clean(sql)!r}. {_HINT}")
    if len(found) > 1:
        raise UserError(f"one statement at a time, {len(found)} were given. {_HINT}")
    kind = found[0].type
    if kind == duckdb.StatementType.EXPLAIN:  # EXPLAIN ANALYZE runs what it explains
        _only_reads(connection, _EXPLAIN.sub("", found[0].query, count=1))
        return
    if kind == duckdb.StatementType.SELECT and _reads_only(connection, found[0].query):
        return
    if kind == duckdb.StatementType.MULTI:
        raise UserError(f"this statement would make a type first; a PIVOT needs its values: ON x IN (…). {_HINT}")
    raise UserError(f"inspect only reads, and this is {_article(kind.name)} statement. {_HINT}")


def _reads_only(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    # fetchall: DuckDB 2.0 runs nothing else on a connection while rows of an answer are left
    ((text,),) = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()
    tree = json.loads(text)
    if tree["error"]:
        return False
    for part in _parts(tree):
        kind, function = str(part.get("type")), str(part.get("function_name")).lower()
        if kind.endswith("_NODE") and kind not in _READS:
            return False
        if function in _RUN_TEXT:
            raise UserError(f"{function}() runs SQL out of a text, which inspect cannot look into. {_HINT}")
    return True


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _parts(child)


def _article(name: str) -> str:
    name = "writing SELECT" if name == "SELECT" else name
    return f"an {name}" if name[0] in "AEIOU" else f"a {name}"


_HINT = (
    f"Write one SELECT over the views {', '.join(VIEWS)}, e.g. SELECT lemma, count(*) AS n FROM objects GROUP BY ALL "
    f"ORDER BY n DESC LIMIT 20"
)


def _explained(error: Exception) -> str:
    message = "\n".join(map(clean, str(error).strip().splitlines()))  # quotes the data
    if "file system operations are disabled" in message:
        message = f"{message}\ninspect reads the given output and nothing else"
    if type(error).__name__ == "IOException":
        message = (
            f"{message}\nIf a run is writing there at the moment, try again: its small files were just put together"
        )
    return f"{message}\nViews: {', '.join(VIEWS)}. DESCRIBE <view> lists the columns of one"
