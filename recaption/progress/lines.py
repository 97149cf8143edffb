"""Progress as lines: plain for log files, JSON for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from rich.console import Console
from rich.text import Text

from recaption import supervise
from recaption.generate.progress import PassProgress, ProgressEvents
from recaption.progress.display import ConsoleDisplay, Display
from recaption.progress.words import at_work, counted, problems, rate, utilisation_text
from recaption.scrub import Scrubber, json_line

PLAIN_SECONDS = 10.0  # between two lines
JSON_SECONDS = 5.0


class PlainLines(ConsoleDisplay):
    """One plain line every PLAIN_SECONDS."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._last_line = float("-inf")

    def generating(self, state: PassProgress) -> None:
        self._line(lambda: plain(state))

    def building(self, done: int, total: int) -> None:
        self._line(lambda: f"annotate, write: {done:,}/{total:,} shards")

    def _line(self, make: Any) -> None:
        now = time.monotonic()
        if now - self._last_line >= PLAIN_SECONDS:
            self._last_line = now
            self._console.print(make(), highlight=False, markup=False, soft_wrap=True)


def plain(state: PassProgress) -> str:
    """The progress of a model's pass in one line."""
    pieces = []
    for name, g in state.generations.items() if any(g.total for g in state.generations.values()) else ():
        facts = [f"{name} {counted(state, name)}"]
        if per_second := rate(state, name):
            facts[0] += f" {per_second} captions/s"
        facts += [f"{n:,} retried"] if (n := g.retries) else []
        facts += [f"{n:,} rejected"] if (n := g.rejected) else []
        pieces.append(", ".join(facts))
    pieces += [", ".join(facts)] if (facts := at_work(state) + problems(state)) else []
    pieces += [speed] if (speed := utilisation_text(state.meter)) else []
    return f"{state.model}: {'; '.join(pieces)}"


class JsonLines(Display):
    """One object per line: `message`, `progress`, `building`, and at the end always one `summary`."""

    def __init__(self, console: Console) -> None:
        self._file = console.file
        self._scrub, self._events = Scrubber(), ProgressEvents(JSON_SECONDS)

    def failed(self, code: int, text: str) -> None:
        """The error of the run, which is printed on standard error too."""
        self.summary({"exit_code": code, "error": text})

    def message(self, text: str) -> None:
        self._put("message", {"text": Text.from_markup(text).plain})

    def generating(self, state: PassProgress) -> None:
        if (fields := self._events.generating(state)) is not None:
            self._put("progress", fields)

    def building(self, done: int, total: int) -> None:
        if (fields := self._events.building(done, total)) is not None:
            self._put("building", fields)

    def summary(self, fields: dict[str, Any]) -> None:
        self._put("summary", fields)
        supervise.summary_written()

    def _put(self, event: str, fields: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = orjson.loads(json_line({"ts": now, "event": event, **self._scrub(dict(fields))}))
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")  # ASCII, whatever the locale
        self._file.flush()
