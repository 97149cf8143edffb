"""Work in daemon threads, so that an interrupt does not wait for a file or a store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import TypeVar

from recaption.errors import Interrupted

A = TypeVar("A")
B = TypeVar("B")

CHECK_SECONDS = 0.2  # between two checks for signals while waiting for a call
GRACE_SECONDS = 4.0  # for a call to end after a stop was requested


def each(call: Callable[[A], B], items: Sequence[A], threads: int) -> Iterator[B]:
    """Yield `call(item)` of each item, in order, from up to `threads` calls at a time. Raises what a call raised.

    An executor waits for its threads at the end of its block, and the interpreter waits for them at exit, so Ctrl-C
    would wait for files and stores. These are daemon threads; they start no more calls once the iterator is closed or
    an error was raised.
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
            _run(partial(call, item), future)

    try:
        for number in range(min(threads, len(futures))):
            threading.Thread(target=run, name=f"each-{number}", daemon=True).start()
        for future in futures:
            while not future.done():  # in steps: CPython misses a signal just before a wait until the wait ends
                wait([future], CHECK_SECONDS)
            yield future.result()
    finally:
        closed.set()


def waited(
    call: Callable[[], A],
    stopping: Callable[[], bool] = lambda: False,
    silent: Callable[[float], object] = lambda seconds: None,
    grace: float = GRACE_SECONDS,
) -> A:
    """What `call` returns or raises. It runs on a daemon thread, so signals are handled even if a store does not reply.

    `silent` is called repeatedly with the number of seconds since the call began, and with 0 when it has ended. Raises
    Interrupted if `stopping` returns True and the call does not end within `grace` seconds. The call then continues
    until the process ends, so it must be safe to kill.
    """
    result: Future[A] = Future()
    thread = threading.Thread(target=_run, args=(call, result), name="recaption-waited", daemon=True)
    began = time.monotonic()
    thread.start()
    while thread.is_alive():
        thread.join(CHECK_SECONDS)
        silent(time.monotonic() - began)
        if thread.is_alive() and stopping():
            thread.join(grace)
            if thread.is_alive():
                raise Interrupted("stopped on request; run the same command again to continue")
    silent(0.0)
    return result.result()


def _run(call: Callable[[], A], result: Future[A]) -> None:
    try:
        result.set_result(call())
    except BaseException as error:  # noqa: BLE001 - raised where the result is read
        result.set_exception(error)
