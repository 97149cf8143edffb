"""Ctrl-C cancels a running DuckDB query."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from recaption.errors import Abandoned

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")
_POLL = 0.05  # seconds between interrupts of a query
_PATIENCE = 1.0  # seconds after the first Ctrl-C; a later one abandons the query


def stoppable(connection: duckdb.DuckDBPyConnection, call: Callable[[], T]) -> T:
    """Return `call()`, which works with `connection`. A Ctrl-C ends its query and raises KeyboardInterrupt.

    The call is made in another thread: Python runs signal handlers in the main thread between two instructions, and
    a query there is one instruction. While it runs, SIGINT is only recorded, so that another Ctrl-C does not end the
    loop that interrupts the query. If the query does not react and Ctrl-C is pressed again, this raises Abandoned: the
    thread continues, and nothing may wait for it or for `connection`.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        return call()
    presses: list[float] = []
    answers: list[T] = []
    errors: list[BaseException] = []
    done = threading.Event()

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            errors.append(error)
        finally:
            done.set()

    signal.signal(signal.SIGINT, lambda *_: presses.append(time.monotonic()))
    try:
        # A daemon thread: the interpreter does not wait for it at exit, as it does for those of an executor.
        threading.Thread(target=work, name="duckdb", daemon=True).start()
        while not done.wait(_POLL):
            if presses:  # repeatedly: an interrupt just before a query starts has no effect
                connection.interrupt()
            if presses and presses[-1] - presses[0] > _PATIENCE:
                raise Abandoned
    finally:
        signal.signal(signal.SIGINT, handler)
    if presses:
        signal.raise_signal(signal.SIGINT)  # calls the handler that was replaced; Python's own raises KeyboardInterrupt
        raise KeyboardInterrupt
    if errors:
        raise errors[0]
    return answers[0]


@contextmanager
def closing(connection: duckdb.DuckDBPyConnection) -> Iterator[duckdb.DuckDBPyConnection]:
    """Close the connection at the end, unless an abandoned query may still run on it."""
    try:
        yield connection
    except (Abandoned, SystemExit):  # SystemExit: SIGTERM, also during a query
        raise
    except BaseException:
        connection.close()
        raise
    connection.close()
