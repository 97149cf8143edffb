"""Writes the times, hosts and rates of a run to `metrics/`. They differ from run to run, so builds do not have them.

metrics/progress.json       of the newest run, rewritten every few seconds: shown by `recaption status`
metrics/run-<epoch>.json    of each run, written when it ends
metrics/log.jsonl           events, one per line (`log`)
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from pydantic import Field, model_validator

import recaption
from recaption.errors import Interrupted
from recaption.generate.events import Event, Level
from recaption.generate.progress import PassProgress, ProgressEvents, Snapshot, captions_per_second, rounded
from recaption.io.store import Store
from recaption.output.paths import run_file
from recaption.run.monitor.background import Background
from recaption.run.monitor.log import EventLog
from recaption.scrub import Scrubber
from recaption.types import SCHEMA_VERSION

PERIOD = 5.0  # seconds between two versions of progress.json, and between two `progress` events of a model

_LEVELS: dict[str, Level] = {"done": "info", "interrupted": "warning", "failed": "error"}


class RunReport(Snapshot):
    """`metrics/progress.json` and `metrics/run-<epoch>.json`. Times are ISO 8601 in UTC."""

    v: str = ""
    run: str = ""
    command: str = "run"
    limit: int | None = None
    started: str = ""
    host: str = "?"
    pid: int | None = None
    recaption: str = ""
    warnings: tuple[str, ...] = ()
    state: str = ""  # running | done | interrupted | failed
    error: str | None = None
    updated: str = ""
    store_silent_seconds: float = 0.0
    captions_per_second: float | None = None  # of all passes
    shards_built: int = 0  # dataset shards that are written
    shards_to_build: int = 0  # of all, as known so far
    build_seconds: float = 0.0  # since all answers are there, until the last dataset shard was written
    models: dict[str, PassProgress] = Field(default_factory=dict)
    finished: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_names(cls, data: Any) -> Any:
        """A pass is stored under its model's name, which it does not repeat."""
        models = data.get("models") if isinstance(data, dict) else None
        if not isinstance(models, dict):
            return data
        named = {name: {**pass_, "model": name} if isinstance(pass_, dict) else pass_ for name, pass_ in models.items()}
        return {**data, "models": named}


class RunLog:
    """Records a run. A background thread writes: no method waits for the store.

    What cannot be written is dropped, and never hides the error that ended the run.
    """

    def __init__(
        self, store: Store, epoch: int, command: str, limit: int | None = None, scrub: Scrubber | None = None
    ) -> None:
        self._store, self._scrub = store, scrub or Scrubber()
        self._last = float("-inf")
        self._progress: dict[str, PassProgress] = {}
        self._events = ProgressEvents(PERIOD)
        self._began = time.monotonic()
        self._warnings: list[str] = []
        self._build_began: float | None = None
        self._built: dict[str, Any] = {}
        self._run: dict[str, Any] = {
            "v": SCHEMA_VERSION,
            "run": f"run-{epoch:06d}",
            "command": command,
            "limit": limit,
            "started": _now(),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "recaption": recaption.__version__,
        }
        self._log: EventLog | None = None  # used by the background thread only
        self._background = Background()
        self._dropped: Counter[Event] = Counter()  # events for which the background thread had no room

    @property
    def store_silent(self) -> float:
        """Seconds for which the store has not answered; 0 while it does."""
        return self._background.silent

    def emit(self, event: Event, level: Level = "info", **fields: Any) -> None:
        """Log an event. See `recaption.generate.events.Emit`."""
        for of, count in list(self._dropped.items()):
            if self._write("suppressed", "warning", of=of, count=count):
                del self._dropped[of]
        if not self._write(event, level, **fields):
            self._dropped[event] += 1

    def _write(self, event: Event, level: Level, **fields: Any) -> bool:
        at = datetime.now(UTC)

        def write() -> None:
            self._log = self._log or EventLog(self._store, self._run["run"], self._scrub)
            self._log.write(event, level, at=at, **fields)

        return self._background.add(write)

    def start(self, pipeline: str) -> None:
        """Record the start of the run."""
        names = ("command", "limit", "host", "pid", "recaption")
        self.emit("run_started", pipeline=pipeline, **{name: self._run[name] for name in names})

    def generating(self, progress: PassProgress) -> None:
        """Progress of a model's pass; may be called at any rate."""
        self._progress[progress.model] = progress
        if (fields := self._events.generating(progress)) is not None:
            self.emit("progress", **fields)
        self.touch()

    def building(self, done: int, total: int) -> None:
        """Progress of the build: dataset shards written, and their total."""
        if (fields := self._events.building(done, total)) is not None:
            self.emit("building", **fields)
        self._build_began = self._build_began or time.monotonic()
        seconds = round(time.monotonic() - self._build_began, 3)
        self._built = {"shards_built": done, "shards_to_build": total, "build_seconds": seconds}
        self.touch()

    def built(self, seconds: float) -> None:
        """Not recorded."""

    def touch(self) -> None:
        """Record that the run is alive."""
        if time.monotonic() - self._last > PERIOD:
            self._last = time.monotonic()
            self._put("progress", self._report("running"))

    def warn(self, text: str) -> None:
        """A warning for the user, shown at the end of the run."""
        self._warnings.append(text)
        self.emit("warning", "warning", detail=text)

    def end(self, error: BaseException | None) -> bool:
        """Record the end: done, interrupted, or failed with `error`. Returns whether all was written in time."""
        state: Literal["done", "interrupted", "failed"] = "done" if error is None else "failed"
        if isinstance(error, Interrupted | KeyboardInterrupt):
            state = "interrupted"
        report = self._report(state, error)
        self._put("progress", report)
        self._put(report.run, report.model_copy(update={"finished": report.updated}))
        seconds = round(time.monotonic() - self._began, 3)
        self.emit("run_ended", _LEVELS[state], state=state, error=report.error, seconds=seconds)
        self._background.add(lambda: self._log.close() if self._log else None)
        return self._background.close()

    def _report(self, state: str, error: BaseException | None = None) -> RunReport:
        passes = self._progress.values()
        rate = captions_per_second(sum(each.answers for each in passes), sum(each.seconds for each in passes))
        return RunReport(
            **self._run,
            warnings=tuple(self._warnings),
            state=state,
            error=None if error is None else self._scrub.text(str(error) or type(error).__name__),
            updated=_now(),
            store_silent_seconds=round(self.store_silent, 1),
            captions_per_second=rounded(rate, 3),
            **self._built,
            models=dict(self._progress),
        )

    def _put(self, name: str, report: RunReport) -> None:
        def put() -> None:
            data = report.model_dump(mode="json", exclude={"finished"} if report.finished is None else None)
            self._store.put(run_file(name), orjson.dumps(data, option=orjson.OPT_INDENT_2))

        self._background.latest(name, put)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
