"""Standard output and error, made safe at the start of a command: neither an encoding nor a closed file ends it.

Characters that the locale cannot encode are replaced: symbols by similar ASCII, letters by an escape (`\\u4e2d`). For
a run, `unblock` writes from a thread, so that the run continues if nobody reads its terminal or pipe.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TextIO

ROOM = 1000  # writes that wait
CHECK_SECONDS = 0.01  # between two checks whether all is written
_ASCII = {
    **{"→": "->", "←": "<-", "⇒": "=>", "·": "-", "•": "*", "…": "...", "–": "-", "—": "-", "−": "-", "‐": "-"},
    **{"×": "x", "✓": "+", "✗": "x", "≥": ">=", "≤": "<=", "≈": "~", "“": '"', "”": '"', "„": '"', "‘": "'"},
    **{"’": "'", "«": "<<", "»": ">>", "⇄": "<>", "±": "+-", "°": " deg", "\u00a0": " ", "\u202f": " ", "µ": "u"},
    **dict(zip("▁▂▃▄▅▆▇█", "_.-:=+*#", strict=True)),
    **dict.fromkeys("▏▎▍▌▋▊▉▐░▒▓━╸╺", "#"),
    **dict.fromkeys("│┃║╎╏┆┇", "|"),
    **dict.fromkeys("─═╌╍┄┅", "-"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝╠╣╦╩╬┏┓┗┛┡┩┢┪╇╈╋┳┻╞╡╪╤╧", "+"),
}


def prepare() -> None:
    """Make the standard streams safe for the whole process. May be called repeatedly."""
    for number in range(3):  # the next file that is opened would get the number of a closed one
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
    codecs.register_error("recaption", _replaced)
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - lives as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="recaption")


def unblock() -> None:
    """Let threads write both streams until the process ends. Call it after `prepare`, and after any fork."""
    one_file = os.path.samestat(os.fstat(1), os.fstat(2))  # then the order of all lines is kept
    out = _Writer()
    for name, number, writer in (("stdout", 1, out), ("stderr", 2, out if one_file else _Writer())):
        stream: TextIO = getattr(sys, name)
        stream.flush()
        raw = _Unblocked(os.dup(number), writer)
        wrapped = io.TextIOWrapper(raw, encoding=stream.encoding, errors=stream.errors, line_buffering=True)  # type: ignore[type-var]
        setattr(sys, name, wrapped)
        setattr(sys, f"__{name}__", wrapped)


def flush() -> None:
    """Write pending output at the end of the process, or drop it. Otherwise, the interpreter would exit with code 120.

    Waits until unblocked streams are written. Ctrl-C ends that wait, and the rest is dropped.
    """
    streams = (sys.stdout, 1), (sys.stderr, 2)
    with suppress(KeyboardInterrupt):
        for stream, number in streams:
            try:
                if stream is not None:
                    stream.flush()
            except (OSError, ValueError):
                with suppress(OSError, ValueError):
                    os.dup2(os.open(os.devnull, os.O_WRONLY), number)
                    stream.flush()
        for stream, _ in streams:
            raw = getattr(stream, "buffer", None)
            if isinstance(raw, _Unblocked):
                raw.writer.wait()


class Unfailing:
    """A stream whose writes never raise: when the terminal or the reader is gone, output is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.gone = False

    def write(self, text: str) -> int:
        if not self.gone:
            try:
                self._stream.write(text)
            except (OSError, ValueError):
                self.gone = True
        return len(text)

    def flush(self) -> None:
        if not self.gone:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self.gone = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Writer:
    """Writes to file descriptors on a daemon thread, in order. The queue is bounded: the oldest writes are dropped.

    A signal handler may raise anywhere in `add` and `wait`. A lock could then stay locked, so there is none: deques
    and simple queues are atomic.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, bytes]] = deque(maxlen=ROOM)
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._busy = False
        self._gone: set[int] = set()
        threading.Thread(target=self._run, name="recaption-stdio", daemon=True).start()

    def add(self, descriptor: int, data: bytes) -> None:
        """Add a write to the queue. Never blocks. A write is kept or dropped as a whole."""
        self._waiting.append((descriptor, data))
        if self._wake.empty():
            self._wake.put(None)

    def wait(self) -> None:
        """Wait until all is written. Signal handlers run meanwhile, and may raise."""
        while self._waiting or self._busy:
            if self._wake.empty():
                self._wake.put(None)
            time.sleep(CHECK_SECONDS)

    def _run(self) -> None:
        while True:
            self._wake.get()
            self._busy = True
            while self._waiting:
                descriptor, data = self._waiting.popleft()
                if descriptor not in self._gone:
                    self._write(descriptor, data)
            self._busy = False

    def _write(self, descriptor: int, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(descriptor, data) :]
            except BlockingIOError:  # another process has made the file non-blocking
                select.select([], [descriptor], [])
            except OSError:  # the terminal or the reader is gone
                self._gone.add(descriptor)
                return


class _Unblocked(io.RawIOBase):
    """The raw stream behind `sys.stdout` and `sys.stderr` once they are unblocked."""

    def __init__(self, descriptor: int, writer: _Writer) -> None:
        self._descriptor, self.writer = descriptor, writer

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        self.writer.add(self._descriptor, bytes(data))
        return len(data)


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = []
    for character in error.object[error.start : error.end]:
        like = _ASCII.get(character) or ("*" if "\u2800" <= character <= "\u28ff" else None)
        found.append(like or character.encode("ascii", "backslashreplace").decode())
    return "".join(found), error.end
