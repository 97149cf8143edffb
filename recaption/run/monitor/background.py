"""Optional writes of a run, on a background thread, so that a store that does not answer never blocks the driver."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from recaption.errors import StoreError
from recaption.formatting import duration
from recaption.generate.progress import SILENT_SECONDS

REPEAT_SECONDS = 30.0  # between two messages about a silent store
FLUSH_SECONDS = 4.0  # for waiting jobs when a run ends
ROOM = 10_000  # jobs that wait

Job = Callable[[], None]


class Background:
    """Runs jobs one after the other on a daemon thread. A job may raise StoreError: then it is dropped."""

    def __init__(self, room: int = ROOM, clock: Callable[[], float] = time.monotonic) -> None:
        self._room, self._clock = room, clock
        self._jobs: deque[Job] = deque()
        self._latest: dict[str, Job] = {}
        self._change = threading.Condition()
        self._closing = False
        self._busy_since: float | None = None  # when the current job began
        # When the first of the `latest` jobs began that have failed since the last success.
        self._failing_since: float | None = None
        self._thread = threading.Thread(target=self._run, name="recaption-telemetry", daemon=True)
        self._thread.start()

    def add(self, job: Job) -> bool:
        """Run a job after the waiting ones. Returns False if too many jobs wait, and drops this one."""
        with self._change:
            if len(self._jobs) >= self._room:
                return False
            self._jobs.append(job)
            self._change.notify()
        return True

    def latest(self, name: str, job: Job) -> None:
        """Run a job. It replaces a waiting job of the same name."""
        with self._change:
            self._latest[name] = job
            self._change.notify()

    @property
    def silent(self) -> float:
        """Seconds for which the store has not answered; 0 while nothing waits for it."""
        since = [each for each in (self._busy_since, self._failing_since) if each is not None]
        return self._clock() - min(since) if since else 0.0

    def close(self, timeout: float = FLUSH_SECONDS) -> bool:
        """Run the waiting jobs, for at most `timeout` seconds. Returns whether all of them were run."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._change:
                while not (self._jobs or self._latest or self._closing):
                    self._change.wait()
                jobs = [(job, False) for job in self._jobs] + [(job, True) for job in self._latest.values()]
                self._jobs.clear()
                self._latest.clear()
                if not jobs:
                    return
            for job, puts in jobs:
                began = self._busy_since = self._clock()
                try:
                    job()
                    self._failing_since = None if puts else self._failing_since
                except StoreError:
                    self._failing_since = self._failing_since or began
                finally:
                    self._busy_since = None


class StoreWatch:
    """Reports a store that does not answer, repeatedly, and when it answers again."""

    def __init__(self, url: str, report: Callable[[str], None]) -> None:
        self._url, self._report = url, report
        self._next = SILENT_SECONDS
        self._longest = 0.0

    def update(self, silent: float) -> float | None:
        """`silent`: seconds without an answer. Returns the length of a silence that has just ended."""
        if silent >= self._next:
            self._report(f"the store has not answered for {duration(silent)}: {self._url}. The run waits for it")
            self._next = silent + REPEAT_SECONDS
        if silent >= SILENT_SECONDS:
            self._longest = silent
            return None
        ended, self._longest, self._next = self._longest, 0.0, SILENT_SECONDS
        if ended:
            self._report(f"the store answers again, after {duration(ended)}")
        return ended or None
