"""The process that runs the statements of the viewer: `python -m recaption.inspect.viewer.process ARGUMENTS`.

Requests and answers are lines of JSON on standard input and output. A request has `sql` and `values`. An answer has
`columns`, `rows` and `more`, or `error`. The first line is sent when the output is open.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from recaption.errors import UserError
from recaption.inspect.connection import open_outputs
from recaption.inspect.paths import find
from recaption.inspect.query import arrow_sql
from recaption.inspect.table import shown
from recaption.inspect.viewer.limits import Limits

if TYPE_CHECKING:
    import duckdb

_AGAIN = 0.1  # seconds between two interrupts: one just before a query starts has no effect
_ROWS = 2048  # that are fetched at a time
_THREADS = 16
_MIB = 1 << 20


def main(arguments: str) -> None:
    """The process. `arguments` are a path and `Limits` as JSON."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    given = json.loads(arguments)
    path = given.pop("path")
    limits = Limits(**given)
    memory = 2 * limits.memory_mib * _MIB
    with suppress(ValueError, OSError):  # a lower limit is set already
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    try:
        bounds = {
            "memory_limit": f"{limits.memory_mib}MiB",
            "max_temp_directory_size": f"{limits.disk_mib}MiB",
            "threads": str(min(os.cpu_count() or 1, _THREADS)),  # each needs memory of its own
        }
        connection = open_outputs(find(path), limits=bounds)
    except Exception as error:  # noqa: BLE001 - sent to the server
        _send({"error": str(error)})
        return
    _send({})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        _send(_answer(connection, request["sql"], request["values"], limits))


def _send(answer: Mapping[str, Any]) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


def _answer(connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, str], limits: Limits) -> Any:
    with _interrupted_after(connection, limits.seconds) as late:
        try:
            return _rows(connection, sql, values, limits)
        except UserError as error:
            if late.is_set():
                return {"error": limits.too_long}
            return {"error": limits.too_large if "Out of Memory Error" in str(error) else str(error)}
        except MemoryError:
            return {"error": limits.too_large}
        except (ValueError, OverflowError) as error:  # such as a date outside of Python's range
            return {"error": f"a value of the result cannot be shown: {error}. Cast its column: column::VARCHAR"}


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, str], limits: Limits) -> Any:
    schema, batches = arrow_sql(connection, sql, values=values, rows=_ROWS)
    most = limits.keys if "key" in schema.names else limits.rows
    rows: list[tuple[str, ...]] = []
    for batch in batches:
        columns = [[_cell(value, limits.cell) for value in column.to_pylist()] for column in batch.columns]
        rows += zip(*columns, strict=True)
        if len(rows) > most:
            break
    return {"columns": schema.names, "rows": rows[:most], "more": len(rows) > most}


def _cell(value: Any, most: int) -> str:
    text = "" if value is None else value if isinstance(value, str) else shown(value)
    return text if len(text) <= most else f"{text[:most]}…"


@contextmanager
def _interrupted_after(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[threading.Event]:
    """Interrupts the statement of the connection if it runs for more than `seconds`, and sets the yielded event."""
    late, done = threading.Event(), threading.Event()

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            late.set()
            connection.interrupt()
            wait = _AGAIN

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield late
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1])
