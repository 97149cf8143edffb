"""Ctrl-C while DuckDB works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import duckdb

T = TypeVar("T")


def stoppable(connection: duckdb.DuckDBPyConnection, call: Callable[[], T]) -> T:
    """`call()`, which works with `connection`; a Ctrl-C ends its query and raises KeyboardInterrupt.

    Python runs signal handlers in the main thread and between two of its own instructions, so that a query made there
    would be waited for: it is made in another thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    with ThreadPoolExecutor(1, "duckdb") as worker:
        future = worker.submit(call)
        try:
            return future.result()
        except KeyboardInterrupt:
            while not future.done():  # a query that was just about to begin forgets that it was interrupted
                connection.interrupt()
                wait([future], timeout=0.05)
            raise
