"""Ctrl-C cancels a running DuckDB query."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

from recaption.errors import Abandoned
from recaption.threads import waited

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")
_PATIENCE = 3.0  # seconds in which a query reacts to the first Ctrl-C, on a busy machine too; a later one abandons it


def stoppable(connection: duckdb.DuckDBPyConnection, call: Callable[[], T]) -> T:
    """Return `call()`, which works with `connection`. A Ctrl-C ends its query and raises KeyboardInterrupt.

    The call is made in another thread: Python runs signal handlers in the main thread between two instructions, and
    a query there is one instruction. While it runs, SIGINT is only recorded, so that another Ctrl-C does not end the
    loop that interrupts the query. If the query does not react and Ctrl-C is pressed again, this raises Abandoned. The
    thread then continues: do not wait for it, and do not close `connection`.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        return call()
    presses: list[float] = []

    def interrupt() -> bool:
        if presses:  # repeatedly: an interrupt just before a query starts has no effect
            connection.interrupt()
        if presses and presses[-1] - presses[0] > _PATIENCE:
            raise Abandoned
        return False

    signal.signal(signal.SIGINT, lambda *_: presses.append(time.monotonic()))
    answer: T | None = None
    try:
        answer = waited(call, interrupt)
    except BaseException as error:
        if not presses or isinstance(error, Abandoned):
            raise
    finally:
        signal.signal(signal.SIGINT, handler)
    if presses:
        signal.raise_signal(signal.SIGINT)  # calls the handler that was replaced; Python's own raises KeyboardInterrupt
        raise KeyboardInterrupt
    return cast("T", answer)


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
