"""Runs the tasks of a build on the cluster, one per core, and collects their results in order of completion."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import ray

from recaption.errors import Interrupted
from recaption.generate.ray_tasks import get, remote_task

POLL_SECONDS = 0.05  # between two polls that `add` makes; with hundreds of running tasks, a poll takes milliseconds


class Pool(Protocol):
    """Runs functions, on Ray or in a test."""

    def share(self, value: Any) -> Any:
        """Send a value that every task needs once. Pass the result of this call to the tasks."""
        ...

    def add(self, function: Callable[..., Any], *args: Any, first: bool = False) -> None:
        """Run a function as soon as there is a core for it; with `first`, before all waiting ones. Returns at once."""
        ...

    def poll(self) -> None:
        """Start waiting tasks and collect finished ones. Raises the error of a failed task."""
        ...

    def take(self) -> list[Any]:
        """The results so far; `collect` does not return them again."""
        ...

    def collect(self, report: Callable[[int, int], None], stopping: Callable[[], bool]) -> list[Any]:
        """Wait for all added tasks and return their results. `report` is called with the number done and the total.

        Results that `report` removes with `take` are not returned. Raises the error of a failed task, and Interrupted
        when `stopping` returns True.
        """
        ...


class RayPool:
    """See `Pool`. Waiting tasks are kept here: in Ray, a task of a hundred bytes takes several kilobytes."""

    def __init__(self, took: Callable[[float], None] = lambda seconds: None) -> None:
        """`took` is called with the seconds of each finished task, from its start to the poll that finds its result."""
        self._took = took
        self._waiting: deque[tuple[Any, tuple[Any, ...]]] = deque()
        self._running: dict[ray.ObjectRef, float] = {}  # with the time of its start
        self._done: list[Any] = []
        self._cores = 0
        self._polled = float("-inf")

    def share(self, value: Any) -> Any:
        return ray.put(value)

    def add(self, function: Callable[..., Any], *args: Any, first: bool = False) -> None:
        (self._waiting.appendleft if first else self._waiting.append)((remote_task(function, cpus=1), args))
        if time.monotonic() - self._polled > POLL_SECONDS:
            self.poll()
        else:
            self._start()

    def poll(self, timeout: float = 0.0) -> None:
        self._polled = time.monotonic()
        if self._running:
            running = list(self._running)
            ray.wait(running, num_returns=1, timeout=timeout)
            ready, _ = ray.wait(running, num_returns=len(running), timeout=0)
            for ref in ready:
                self._took(time.monotonic() - self._running.pop(ref))
                self._done.append(get(ref))
        if self._waiting:
            self._cores = int(ray.cluster_resources().get("CPU", 1))
            self._start()

    def take(self) -> list[Any]:
        done, self._done = self._done, []
        return done

    def _start(self) -> None:
        while self._waiting and len(self._running) < self._cores:
            task, args = self._waiting.popleft()
            self._running[task.remote(*args)] = time.monotonic()

    def collect(self, report: Callable[[int, int], None], stopping: Callable[[], bool]) -> list[Any]:
        total = len(self._done) + len(self._waiting) + len(self._running)
        while self._waiting or self._running:
            if stopping():
                raise Interrupted("stopped on request; run the same command again to continue")
            self.poll(timeout=0.5)
            report(len(self._done), total)
        return self.take()
