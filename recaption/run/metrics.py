"""What a run leaves in `metrics/`: times, hosts, rates. Everything that differs from run to run is here, nowhere else.

metrics/progress.json       of the newest run, rewritten every few seconds: what `recaption status` shows
metrics/run-<epoch>.json    of every run, written when it ends
metrics/log.jsonl           what happened, one event a line (`log`)
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

import recaption
from recaption.errors import Interrupted
from recaption.generate.events import Event, Level
from recaption.generate.progress import Pace, Progress, captions_per_second
from recaption.io.store import Store
from recaption.run.log import EventLog
from recaption.run.telemetry import Background
from recaption.scrub import Scrubber
from recaption.types import SCHEMA_VERSION

EVERY = 5.0  # seconds between two states of progress.json, and between two `progress` events of a model

_LEVELS: dict[str, Level] = {"done": "info", "interrupted": "warning", "failed": "error"}


class RunLog:
    """Keeps what a run reports of itself. A thread of its own writes it: no method waits for the store.

    What cannot be written is dropped and never hides what ended the run.
    """

    def __init__(
        self, store: Store, epoch: int, command: str, limit: int | None = None, scrub: Scrubber | None = None
    ) -> None:
        self._store = store
        self._last = float("-inf")
        self._progress: dict[str, Progress] = {}
        self._told: dict[str, tuple[float, str]] = {}  # model -> when its progress was logged, and its phase then
        self._pace, self._scrub = Pace(), scrub or Scrubber()
        self._built = (0, 0)
        self._began = time.monotonic()
        self._data: dict[str, Any] = {
            "v": SCHEMA_VERSION,
            "run": f"run-{epoch:06d}",
            "command": command,
            "limit": limit,
            "started": _now(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "recaption": recaption.__version__,
        }
        self._log: EventLog | None = None  # of the background thread
        self._background = Background()
        self._dropped: Counter[Event] = Counter()  # events that the background thread had no room for

    @property
    def store_silent(self) -> float:
        """Seconds for which the store has not answered; 0 while it does."""
        return self._background.silent

    def tell(self, event: Event, level: Level = "info", **fields: Any) -> None:
        """Something happened: a line in the log. See `recaption.generate.events.Tell`."""
        for of, count in list(self._dropped.items()):
            if self._write("suppressed", "warning", of=of, count=count):
                del self._dropped[of]
        if not self._write(event, level, **fields):
            self._dropped[event] += 1

    def _write(self, event: Event, level: Level, **fields: Any) -> bool:
        at = datetime.now(UTC)

        def write() -> None:
            self._log = self._log or EventLog(self._store, self._data["run"], self._scrub)
            self._log.write(event, level, at=at, **fields)

        return self._background.add(write)

    def start(self, pipeline: str) -> None:
        """The run begins."""
        names = ("command", "limit", "host", "pid", "recaption")
        self.tell("run_started", pipeline=pipeline, **{name: self._data[name] for name in names})

    def generating(self, progress: Progress) -> None:
        """How far a model's pass is; may be called as often as one likes."""
        self._progress[progress.model] = progress
        now = time.monotonic()
        then, phase = self._told.get(progress.model, (float("-inf"), ""))
        if now - then > EVERY or phase != progress.phase:
            self._told[progress.model] = now, progress.phase
            pace = self._pace.since_last(progress)
            rate = {"captions_per_second": None if pace is None else round(pace, 3)}  # of these seconds
            self.tell("progress", **progress.brief() | rate)
        self.touch()

    def building(self, done: int, total: int) -> None:
        """How many dataset shards of how many are written."""
        if (done, total) != self._built:
            self._built = done, total
            self.tell("building", done=done, total=total)
        self.touch()

    def touch(self) -> None:
        """The run goes on."""
        if time.monotonic() - self._last > EVERY:
            self._last = time.monotonic()
            self._put("progress", self._state("running"))

    def warn(self, words: str) -> None:
        """Something that is worth knowing when the run is over."""
        self._data.setdefault("warnings", []).append(words)
        self.tell("warning", "warning", detail=words)

    def end(self, error: BaseException | None) -> bool:
        """The run is over: done, interrupted, or failed with `error`. False: the store did not take all in time."""
        how: Literal["done", "interrupted", "failed"] = "done" if error is None else "failed"
        if isinstance(error, Interrupted | KeyboardInterrupt):
            how = "interrupted"
        state = self._state(how, error)
        self._put("progress", state)
        self._put(self._data["run"], {**state, "finished": state["updated"]})
        seconds = round(time.monotonic() - self._began, 3)
        self.tell("run_ended", _LEVELS[how], state=how, error=state["error"], seconds=seconds)
        self._background.add(lambda: self._log.close() if self._log else None)
        return self._background.close()

    def _state(self, how: str, error: BaseException | None = None) -> dict[str, Any]:
        passes = list(self._progress.values())
        seconds = sum(progress.seconds for progress in passes)
        rate = captions_per_second(sum(progress.answers.total() for progress in passes), seconds)
        return {
            **self._data,
            "state": how,
            "error": None if error is None else self._scrub.text(str(error) or type(error).__name__),
            "updated": _now(),
            "store_silent_seconds": round(self.store_silent, 1),
            "captions_per_second": None if rate is None else round(rate, 3),
            "models": {progress.model: progress.state().as_json() for progress in passes},
        }

    def _put(self, name: str, state: dict[str, Any]) -> None:
        def put() -> None:
            self._store.put(f"metrics/{name}.json", orjson.dumps(state, option=orjson.OPT_INDENT_2))

        self._background.latest(name, put)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
