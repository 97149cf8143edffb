"""A pool without Ray: the tasks run in this process, in an order drawn by a seed, and can be made to die."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recaption import config
from recaption.annotate import Annotator
from recaption.build.builder import Builder
from recaption.errors import Interrupted
from recaption.generate.chunks import Job, list_shard
from recaption.generate.events import Emit, ignore_event
from recaption.generate.plan import make_plan
from recaption.io.store import open_store
from recaption.source import open_source


class LocalPool:
    """See `recaption.build.pool.Pool`. `ran` has the names of the functions that were run.

    `eager`: `poll` runs tasks too; otherwise they run when they are collected.
    """

    def __init__(self, seed: int = 0, *, eager: bool = False) -> None:
        self.ran: list[str] = []
        self._eager = eager
        self._done: list[Any] = []
        self._waiting: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._rng = random.Random(seed)

    def share(self, value: Any) -> Any:
        return value

    def add(self, function: Callable[..., Any], *args: Any, first: bool = False) -> None:
        self._waiting.insert(0 if first else len(self._waiting), (function, args))

    def poll(self) -> None:
        if self._eager:
            self._done += self._run(lambda: False)

    def take(self) -> list[Any]:
        done, self._done = self._done, []
        return done

    def collect(self, report: Callable[[int, int], None], stopping: Callable[[], bool]) -> list[Any]:
        while self._waiting:
            self._done += self._run(stopping)
            report(len(self._done), len(self._done) + len(self._waiting))
        return self.take()

    def _run(self, stopping: Callable[[], bool]) -> list[Any]:
        waiting, self._waiting = self._waiting, []
        self._rng.shuffle(waiting)
        done = []
        for function, args in waiting:
            if stopping():
                raise Interrupted("stopped")
            self.ran.append(function.__name__)
            done.append(function(*args))
        return done


def build(
    data: dict[str, Any],
    pool: Any = None,
    *,
    limit: int | None = None,
    excluded: Sequence[str] = (),
    stopping: Callable[[], bool] = lambda: False,
    tell: Emit = ignore_event,
    building: Callable[[int, int], None] = lambda done, total: None,
    again: bool = False,
) -> tuple[Path, bool]:
    """What `recaption build` does once all answers are there. Returns the build's folder and whether it is new."""
    pipeline = config.validate(data)
    plan, store, source = make_plan(pipeline), open_store(pipeline.output.path), open_source(pipeline.source)
    job = Job(source=source, store_url=store.url, epoch=1, excluded=frozenset(excluded), limit=limit)
    annotator, pool = Annotator(pipeline.annotate), pool or LocalPool()
    builder = Builder(plan, job, store, annotator, limit, pool, tell, again=again)
    left = limit
    for shard in source.shards():
        listing = list_shard(store, source, shard, plan.questions, job.excluded, left)
        left = left and left - listing.images
        builder.add(listing)
        builder.poll()
        if left == 0:
            break
    name, new = builder.finish(building, stopping)
    return Path(pipeline.output.path) / "builds" / name, new
