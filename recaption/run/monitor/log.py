"""The event log of an output's runs: JSON lines, one per event.

    metrics/log.jsonl                on a local or network file system: one file, to which every run appends
    metrics/log-<run>-<n>.jsonl      on object stores, which cannot append: pieces of at most 1 MiB; the last one is
                                     written every half minute and at the end

A line is one write, so a killed run leaves at most its last line broken, and the next run begins on a new line. Lines
name images and shards; secrets and image bytes are removed (`scrub`), and texts are cut at 500 characters.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from recaption.errors import StoreError
from recaption.generate.events import Event, Level
from recaption.io.store import Store
from recaption.output.paths import LOG, log_piece
from recaption.scrub import Scrubber, json_line
from recaption.types import SCHEMA_VERSION

LONGEST = 500  # characters of a text
LINES_PER_MINUTE = 1000  # of one event; more are counted and not written
PIECE = 2**20  # bytes of an object
PUT_SECONDS = 30.0


class _Sink(Protocol):
    def write(self, line: bytes) -> None: ...

    def close(self) -> None: ...


class EventLog:
    """`write` never raises: a log must not end the run. Not thread-safe."""

    def __init__(
        self, store: Store, run: str, scrub: Scrubber | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        path = store.local(LOG)
        self._sink: _Sink = _Appended(path) if path is not None else _Pieces(store, run, clock)
        self._run, self._scrub, self._clock = run, scrub or Scrubber(), clock
        self._minute = clock()
        self._written: Counter[str] = Counter()  # lines of each event in this minute

    def write(self, event: Event, level: Level = "info", *, at: datetime | None = None, **fields: Any) -> None:
        """A line with the time of the event (default: now), the run, and the fields."""
        self._end_minute(after=60.0)
        self._written[event] += 1
        if self._written[event] <= LINES_PER_MINUTE:
            self._put(event, level, fields, at)

    def close(self) -> None:
        """Log what was suppressed, and put everything into the store."""
        self._end_minute(after=0.0)
        self._sink.close()

    def _end_minute(self, after: float) -> None:
        if self._clock() - self._minute < after:
            return
        for event, count in self._written.items():
            if count > LINES_PER_MINUTE:
                self._put("suppressed", "warning", {"of": event, "count": count - LINES_PER_MINUTE})
        self._minute = self._clock()
        self._written.clear()

    def _put(self, event: Event, level: Level, fields: dict[str, Any], at: datetime | None = None) -> None:
        line = {
            "v": SCHEMA_VERSION,
            "ts": (at or datetime.now(UTC)).isoformat(timespec="milliseconds"),
            "run": self._run,
            "level": level,
            "event": event,
            **_cut(self._scrub(fields)),
        }
        self._sink.write(json_line(line))


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST else value[: LONGEST - 1] + "…"
    if isinstance(value, dict):
        return {name: _cut(each) for name, each in value.items()}
    return [_cut(each) for each in value] if isinstance(value, list) else value


class _Appended:
    """A local file; each line is one write at its end."""

    def __init__(self, path: Path) -> None:
        self._file: int | None = None
        self._torn = False  # only a part of the last line was written: the disk is full
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            size = os.fstat(self._file).st_size
            if size and os.pread(self._file, 1, size - 1) != b"\n":  # a run was killed in the middle of a line
                os.write(self._file, b"\n")

    def write(self, line: bytes) -> None:
        if self._file is not None:
            data = b"\n" + line if self._torn else line
            try:
                self._torn = os.write(self._file, data) < len(data)
            except OSError:  # none of it was written
                return

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):
                os.close(self._file)
            self._file = None


class _Pieces:
    """Objects of at most PIECE bytes. An object that could not be put is retried with later lines until it is full."""

    def __init__(self, store: Store, run: str, clock: Callable[[], float]) -> None:
        self._store, self._run, self._clock = store, run, clock
        self._number, self._data = 0, bytearray()
        self._due = clock() + PUT_SECONDS
        self._pending = False  # some lines are not in the store yet

    def write(self, line: bytes) -> None:
        if len(self._data) + len(line) > PIECE:
            self._put()
            self._number += 1
            self._data.clear()
        self._data += line
        self._pending = True
        if self._clock() >= self._due:
            self._put()

    def close(self) -> None:
        self._put()

    def _put(self) -> None:
        self._due = self._clock() + PUT_SECONDS
        if self._pending:
            with suppress(StoreError):
                self._store.put(log_piece(self._run, self._number), bytes(self._data))
                self._pending = False
