"""Signals that end a command without a parent process, from the first line of Python to the exit of the process.

Imports next to nothing: it is the first module that the command line loads. SIGINT raises KeyboardInterrupt in
`interruptible` code, and ends the process at once elsewhere and during imports. SIGTERM and SIGHUP raise SystemExit
with code 75, so that temporary files are removed; a second one ends the process at once, as SIGQUIT does.
"""

import atexit
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 75  # exit code, as in recaption.errors
STOPPED_AT_ONCE = "stopped at once; run the same command again to continue"
STOPPED = f"interrupted: {STOPPED_AT_ONCE}\n"
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_interruptible = False
_terminated = False


def at_start() -> None:
    """Install the handlers. Signals that are ignored (nohup, background jobs) or handled already stay as they are."""
    with suppress(ValueError):  # not in the main thread
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, _interrupt)
        for number in _ENDING:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _terminate)
        # Registered first, so it runs last. The interpreter then removes Python's handlers, but not SIG_IGN.
        atexit.register(_ignore)


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt in this block instead of ending the process. Catch it around the block."""
    global _interruptible
    _interruptible = True
    try:
        yield
    finally:
        _interruptible = False


@contextmanager
def duckdb_interrupts() -> Iterator[None]:
    """Raise what the handler of a signal raised during a call of DuckDB in the main thread: KeyboardInterrupt or
    SystemExit. DuckDB looks for signals during such a call, and raises a RuntimeError instead."""
    try:
        yield
    except RuntimeError as error:
        if str(error) != "Query interrupted":
            raise
        raise (SystemExit(INTERRUPTED) if _terminated else KeyboardInterrupt) from error


class Rounds:
    """For a loop with a user: Ctrl-C ends a round and never the loop.

    Within `round` the first SIGINT raises KeyboardInterrupt. What comes after that, between two rounds or during an
    import (an import that is interrupted leaves partial modules) does nothing: a second Ctrl-C would otherwise be
    raised where the first one is being handled.
    """

    def __init__(self) -> None:
        self._raises = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Replace the handler of SIGINT in this block, unless SIGINT is ignored or this is not the main thread."""
        before = signal.getsignal(signal.SIGINT)
        if not callable(before):
            yield
            return
        with suppress(ValueError):  # not in the main thread
            signal.signal(signal.SIGINT, self._handle)
        try:
            yield
        finally:
            with suppress(ValueError):
                signal.signal(signal.SIGINT, before)

    @contextmanager
    def round(self) -> Iterator[None]:
        self._raises = True
        try:
            yield
        finally:
            self._raises = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._raises and not _importing(frame):
            self._raises = False
            raise KeyboardInterrupt


def at_end(code: int) -> None:
    """The command has ended with this code: a signal from now on ends the process at once, with the same code."""
    for number in (signal.SIGINT, *_ENDING):
        if signal.getsignal(number) in (_interrupt, _terminate):
            signal.signal(number, lambda number, frame: os._exit(code))


def terminated() -> bool:
    """SIGTERM or SIGHUP ended the command: nothing may wait for threads that still work."""
    return _terminated


def write(descriptor: int, text: str) -> None:
    """Write text past Python's streams. Errors are ignored."""
    with suppress(OSError):
        os.write(descriptor, text.encode("ascii", "backslashreplace"))


def _ignore() -> None:
    for number in (signal.SIGINT, *_ENDING):
        signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _interruptible and not _importing(frame):
        raise KeyboardInterrupt
    write(2, STOPPED)
    os._exit(INTERRUPTED)


def _importing(frame: FrameType | None) -> bool:
    """Whether an import is running. An import that is interrupted leaves partial modules."""
    while frame is not None:
        if "importlib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _terminate(number: int, frame: FrameType | None) -> None:
    global _terminated
    if _terminated or number == signal.SIGQUIT:
        os._exit(INTERRUPTED)
    _terminated = True
    write(2, STOPPED)
    raise SystemExit(INTERRUPTED)
