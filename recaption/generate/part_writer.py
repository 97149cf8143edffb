"""Stores the finished answers and rejects of one assignment as parts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from recaption.generate.chunks import Chunk
from recaption.generate.counters import Counters
from recaption.generate.utilisation import Meter
from recaption.io.store import Store
from recaption.output import answers as parts
from recaption.tasks.question import Question
from recaption.types import Answer, Reject

FLUSH_COUNT = 64  # answers
FLUSH_SECONDS = 5.0
GATHER_SECONDS = 0.5  # that an answer waits for others before it is stored, if further requests are made from it


class PartWriter:
    """Stores finished items as parts: every 64 items of a question, or after 5 s.

    Items wait in memory while the store is slow, at most those of one chunk.
    """

    def __init__(
        self,
        store: Store,
        questions: tuple[Question, ...],
        chunk: Chunk,
        stem: str,
        suffix: str,
        meter: Meter,
        counters: Sequence[Counters] = (),
    ) -> None:
        """`counters`: each of them counts the items that the store has."""
        self._store, self._questions, self._chunk = store, questions, chunk
        self._stem, self._suffix, self._meter, self._counters = stem, suffix, meter, counters
        self._items: dict[str, list[tuple[float, Answer | Reject]]] = {question.id: [] for question in questions}
        self._number = 0
        self._lock = asyncio.Lock()
        self._puts: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None  # of a put that no call awaits
        self._finished: list[tuple[Question, bool]] = []  # images with all units added, and whether they were skipped
        self._gathering: asyncio.Task[None] | None = None
        self._closed = False
        self.on_stored: Callable[[Question, list[Answer | Reject]], None] = lambda question, items: None
        self.on_unstorable: Callable[[Reject], None] = lambda reject: None

    def add(self, question: Question, item: Answer | Reject) -> None:
        """Add a finished item. Does not wait for the store, so that a slow store does not stop the engine.

        Raises the error of an earlier put.
        """
        if self._closed:
            return
        self._items[question.id].append((time.monotonic(), item))
        if self._failure is not None:
            raise self._failure
        if len(self._items[question.id]) >= FLUSH_COUNT and not self._puts:
            self._begin_put().add_done_callback(self._unobserved)

    def finished(self, question: Question, *, skipped: bool) -> None:
        """All units of an image were added: count the image with the next put. A closed writer does not count it,
        because a unit may have been dropped."""
        if not self._closed:
            self._finished.append((question, skipped))

    async def stored(self) -> None:
        """Returns when all items added so far are in the store. Waits for other items, so that they share the put.

        Answers from which further requests are made are stored before these requests are sent.
        """
        if self._gathering is None:
            self._gathering = asyncio.create_task(self._gather())
        await asyncio.shield(self._gathering)

    async def _gather(self) -> None:
        await asyncio.sleep(GATHER_SECONDS)
        self._gathering = None  # later callers wait for the next put
        await self.flush()

    async def flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Store all items. If the caller is cancelled, the put continues, and the next flush waits for it."""
        await asyncio.shield(self._begin_put())

    async def close(self) -> None:
        """Store all items; later ones are dropped. What is stored after an assignment ended would not be counted."""
        await self.flush()
        self._closed = True
        await self.flush()  # what was added meanwhile, and what another put has taken and not stored yet

    def _begin_put(self) -> asyncio.Task[None]:
        put = asyncio.create_task(self._put())
        self._puts.add(put)
        put.add_done_callback(self._ended)
        return put

    def _unobserved(self, put: asyncio.Task[None]) -> None:
        if not put.cancelled():
            self._failure = put.exception()

    def _ended(self, put: asyncio.Task[None]) -> None:
        self._puts.discard(put)
        if not put.cancelled():
            put.exception()  # retrieved, so that asyncio does not warn: the next flush raises the same error

    async def _put(self) -> None:
        async with self._lock:
            finished, self._finished = self._finished, []
            for question in self._questions:
                items, self._items[question.id] = self._items[question.id], []
                if not items:
                    continue
                name = f"{self._stem}-{self._number:04d}-{self._suffix}"
                self._number += 1
                answers = [item for _, item in items if isinstance(item, Answer)]
                rejects = [item for _, item in items if isinstance(item, Reject)]
                started = time.monotonic()
                try:
                    unstorable = await asyncio.to_thread(
                        parts.put_part, self._store, question, self._chunk.shard.id, name, answers, rejects
                    )
                except BaseException:
                    self._items[question.id][:0] = items
                    self._finished[:0] = finished
                    raise
                stored = parts.stored((item for _, item in items), unstorable)
                for counters in self._counters:
                    counters.count(stored, question.id)
                self.on_stored(question, stored)
                for _, reject in unstorable:
                    self.on_unstorable(reject)
                now = time.monotonic()
                self._meter.took("put", now - started)
                self._meter.spent("put", sum(now - since for since, _ in items), len(items))
            for counters in self._counters:
                for question, skipped in finished:
                    counters.finished(question, skipped=skipped)
