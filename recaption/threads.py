"""Work in threads that nothing waits for once it was interrupted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def each(call: Callable[[A], B], items: Sequence[A], threads: int) -> Iterator[B]:
    """Yield `call(item)` of each item, in order, from up to `threads` calls at a time. Raises what a call raised.

    An executor waits for its threads when its block is left, and the interpreter does at exit: a user who presses
    Ctrl-C would wait for files and stores. These are daemon threads, and they begin nothing more once the iterator is
    closed or an error was raised.
    """
    futures: list[Future[B]] = [Future() for _ in items]
    work = iter(zip(items, futures, strict=True))
    taking = threading.Lock()
    closed = threading.Event()

    def take() -> tuple[A, Future[B]] | None:
        with taking:
            return None if closed.is_set() else next(work, None)

    def run() -> None:
        while (job := take()) is not None:
            item, future = job
            try:
                future.set_result(call(item))
            except BaseException as error:  # noqa: BLE001 - raised where the result is read
                future.set_exception(error)

    try:
        for number in range(min(threads, len(futures))):
            threading.Thread(target=run, name=f"each-{number}", daemon=True).start()
        for future in futures:
            yield future.result()
    finally:
        closed.set()
