"""The process that runs the statements of the viewer, so that their time and memory are bounded.

DuckDB's `memory_limit` does not count all memory: `SELECT repeat('x', 1000000000)` takes gigabytes with any limit. So
statements run in a process with a limit of the operating system. It is started again if a statement ends it.

Requests and answers are lines of JSON on standard input and output. A request has `sql`, `values`, and the field names
of `Limits`. An answer has `columns`, `rows` and `more`, or `error`. The first line is sent when the output is open.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from recaption.errors import DatasetError, UserError
from recaption.inspect.connection import open_outputs
from recaption.inspect.paths import find
from recaption.inspect.query import arrow_sql
from recaption.inspect.table import shown
from recaption.inspect.viewer.limits import Limits

if TYPE_CHECKING:
    import duckdb

_GRACE = 3.0  # seconds after which a statement that cannot be interrupted ends its process
_START = 120.0  # seconds in which an output has to open
_AGAIN = 0.1  # seconds between two interrupts: one just before a query starts has no effect
_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The first rows of a result. Values are texts as they are shown, and null is empty."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: bool  # the result has more rows

    @property
    def keys(self) -> tuple[str, ...] | None:
        """The distinct values of the column `key`, in order. None without such a column."""
        if "key" not in self.columns:
            return None
        place = self.columns.index("key")
        return tuple(dict.fromkeys(row[place] for row in self.rows))


class Worker:
    """Runs one statement at a time in another process. Close it at the end."""

    def __init__(self, path: str, limits: Limits) -> None:
        """Opens the output at `path`. Raises DatasetError if that fails."""
        self.path, self.limits = path, limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    def ask(self, sql: str, values: Mapping[str, str] | None = None) -> Answer:
        """Run one statement that only reads. Raises UserError as `arrow_sql`, and for one that exceeds a limit."""
        if not self._lock.acquire(timeout=self.limits.seconds):
            raise UserError("other statements are still running. Try again")
        try:
            if self._process is None:
                self._start()
            answer = self._exchange({"sql": sql, "values": values or {}}, self.limits.seconds + _GRACE)
        except EOFError as error:
            self._end()
            raise UserError(_too_large(self.limits)) from error
        except TimeoutError as error:
            self._end()
            raise UserError(_too_long(self.limits.seconds)) from error
        finally:
            self._lock.release()
        if "error" in answer:
            raise UserError(answer["error"])
        return Answer(columns=tuple(answer["columns"]), rows=tuple(map(tuple, answer["rows"])), more=answer["more"])

    def close(self) -> None:
        """End the process, also during a statement."""
        self._end()

    def _start(self) -> None:
        arguments = json.dumps({"path": self.path, **asdict(self.limits)})
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__, arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            opened = self._read(_START)
        except (EOFError, TimeoutError) as error:
            self._end()
            raise DatasetError(f"cannot read {self.path}: the process that queries it did not start") from error
        if "error" in opened:
            self._end()
            raise DatasetError(opened["error"])

    def _exchange(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise EOFError from error
        return self._read(seconds)

    def _read(self, seconds: float) -> dict[str, Any]:
        """The next line. Raises EOFError, TimeoutError."""
        assert self._process is not None and self._process.stdout is not None
        end, line = monotonic() + seconds, bytearray()
        pipe = self._process.stdout.fileno()
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, end - monotonic()))
            if not ready:
                raise TimeoutError
            piece = os.read(pipe, _MIB)
            if not piece:
                raise EOFError
            line += piece
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]


def _too_long(seconds: float) -> str:
    return f"the statement was stopped after {seconds:g} s. Add conditions, or run it with recaption inspect OUT SQL"


def _too_large(limits: Limits) -> str:
    return f"the statement needs more than {limits.memory_mib:,} MiB of memory. Select fewer rows or shorter values"


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
        bounds = {"memory_limit": f"{limits.memory_mib}MiB", "max_temp_directory_size": f"{limits.disk_mib}MiB"}
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
                return {"error": _too_long(limits.seconds)}
            return {"error": _too_large(limits) if "Out of Memory Error" in str(error) else str(error)}
        except MemoryError:
            return {"error": _too_large(limits)}
        except (ValueError, OverflowError) as error:  # such as a date outside of Python's range
            return {"error": f"a value of the result cannot be shown: {error}. Cast its column: column::VARCHAR"}


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, values: Mapping[str, str], limits: Limits) -> Any:
    schema, batches = arrow_sql(connection, sql, values=values, rows=2048)
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
    """Interrupts what runs on the connection after so many seconds. Yields an event that is then set."""
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
