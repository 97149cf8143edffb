"""The actor that holds one engine: reads a chunk's images, asks, and puts the parts itself.

Plain asyncio, no Ray in it: `driver` turns `EngineHost` into a Ray actor, tests run it as it is.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from recaption import engine as engines
from recaption.engine.base import Completion, Engine, EngineSpec, Request
from recaption.errors import ImageError, Interrupted
from recaption.generate import parts
from recaption.generate.chunks import Chunk, load_index, prompt_sha256
from recaption.generate.plan import Question
from recaption.generate.retry import ask_until_answered, reject
from recaption.source import Source
from recaption.store import Store, open_store
from recaption.types import Answer, Image, Reject

FLUSH_COUNT = 64  # answers
FLUSH_SECONDS = 5.0
READ_AHEAD = 2  # images held beside those in the engine, in units of its capacity


@dataclass(frozen=True, kw_only=True, slots=True)
class HostSpec:
    """What an actor needs to know; plain picklable values."""

    engine: EngineSpec
    questions: tuple[Question, ...]
    source: Source
    store_url: str
    epoch: int
    actor: int


@dataclass(kw_only=True, slots=True)
class Counters:
    """What an actor has done since it started, per question; the progress display adds them up."""

    answers: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    retries: Counter[str] = field(default_factory=Counter)
    output_tokens: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0

    def count(self, item: Answer | Reject, question: str) -> None:
        if isinstance(item, Answer):
            self.answers[question] += 1
            self.output_tokens[question] += item.output_tokens
            self.retries[question] += len(item.attempts) - 1
        else:
            self.rejects[question] += 1
            self.retries[question] += max(0, item.attempts - 1)


class EngineHost:
    """One engine and the work around it. `run_chunk` may be called many times at once."""

    def __init__(self, spec: HostSpec, engine: Engine | None = None) -> None:
        self._spec = spec
        self._store: Store = open_store(spec.store_url)
        self._engine: Engine = engine or engines.build(spec.engine)
        self._counters = Counters()
        self._draining = False
        self._images: asyncio.Semaphore | None = None  # images in memory, all chunks together
        self._slots: asyncio.Semaphore | None = None  # requests in the engine

    async def start(self) -> tuple[int, dict[str, str]]:
        """Start the engine. Returns its capacity (requests in flight) and its provenance."""
        await self._engine.start()
        capacity = self._engine.capacity
        self._images = asyncio.Semaphore(READ_AHEAD * capacity)
        self._slots = asyncio.Semaphore(capacity)
        return capacity, self._engine.provenance()

    async def run_chunk(self, chunk: Chunk, attempt: int = 0) -> None:
        """Answer or reject everything that the chunk misses, and put it. Raises EngineDead, StoreError, Interrupted."""
        images, _ = await asyncio.to_thread(load_index, self._store, self._spec.source, chunk.shard)
        pending = await asyncio.to_thread(self._pending, chunk, images, attempt)
        buffer = _Buffer(self._store, self._spec, chunk, attempt)
        try:
            async with asyncio.TaskGroup() as tasks:
                flusher = tasks.create_task(buffer.flush_regularly())
                asked = [
                    tasks.create_task(self._one_image(image, data, pending[image.row], buffer))
                    async for image, data in self._read([images[row] for row in sorted(pending)])
                ]
                await asyncio.gather(*asked)
                flusher.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # the first failure of an engine or store; the others follow from it
        finally:
            await buffer.flush()  # what was paid for is kept, whatever else went wrong
        if self._draining:
            raise Interrupted("drained on request")

    async def counters(self) -> Counters:
        return self._counters

    async def drain(self, deadline: float) -> None:
        """Take in nothing more, and wait at most `deadline` seconds for what is in the engine."""
        self._draining = True
        until = time.monotonic() + deadline
        while self._counters.in_flight and time.monotonic() < until:
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        await self._engine.stop()

    def _pending(self, chunk: Chunk, images: list[Image], attempt: int) -> dict[int, list[Question]]:
        """Row -> questions to ask; after a lost actor, without what that one had put already."""
        pending = {row: [q for i, q in enumerate(self._spec.questions) if chunk.asks(row, i)] for row in chunk.rows()}
        if attempt == 0:
            return pending
        for question in self._spec.questions:
            done = parts.finished(self._store, question, chunk.shard.id, chunk.place)
            for row, questions in pending.items():
                identity = images[row].sha256, prompt_sha256(question, images[row])
                if question in questions and (identity in done.answers or identity[0] in done.rejects):
                    questions.remove(question)
        return {row: questions for row, questions in pending.items() if questions}

    async def _read(self, images: list[Image]) -> AsyncIterator[tuple[Image, bytes | ImageError]]:
        """Images with their bytes, read in a thread; never more in memory than the bound allows."""
        assert self._images is not None
        reading = self._spec.source.read(images)
        for _ in images:
            await self._images.acquire()
            found = None if self._draining else await asyncio.to_thread(next, reading, None)
            if found is None:
                self._images.release()
                assert self._draining, "a source must give back every image it was asked for"
                return
            yield found

    async def _one_image(
        self, image: Image, data: bytes | ImageError, questions: list[Question], buffer: _Buffer
    ) -> None:
        """All prompts of one image back to back, so that an engine can reuse what it computed for the image."""
        assert self._images is not None
        try:
            if isinstance(data, ImageError):
                items: list[Answer | Reject] = [reject(q, image, data.reason, str(data), []) for q in questions]
            else:
                items = await asyncio.gather(*(ask_until_answered(q, image, data, self._ask) for q in questions))
            for question, item in zip(questions, items, strict=True):
                self._counters.count(item, question.id)
                await buffer.add(question, item)
        finally:
            self._images.release()

    async def _ask(self, request: Request) -> Completion:
        assert self._slots is not None
        async with self._slots:
            self._counters.in_flight += 1
            try:
                return await self._engine.generate(request)
            finally:
                self._counters.in_flight -= 1


class _Buffer:
    """Finished items of one chunk on their way into parts: put every 64 of a question, or after 5 s."""

    def __init__(self, store: Store, spec: HostSpec, chunk: Chunk, attempt: int) -> None:
        self._store, self._spec, self._chunk, self._attempt = store, spec, chunk, attempt
        self._items: dict[str, list[Answer | Reject]] = {question.id: [] for question in spec.questions}
        self._number = 0
        self._lock = asyncio.Lock()

    async def add(self, question: Question, item: Answer | Reject) -> None:
        self._items[question.id].append(item)
        if len(self._items[question.id]) >= FLUSH_COUNT:
            await self.flush()

    async def flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        async with self._lock:
            for question in self._spec.questions:
                items, self._items[question.id] = self._items[question.id], []
                if not items:
                    continue
                name = f"{self._chunk.number:06d}.{self._spec.epoch:06d}-{self._number:04d}-{self._spec.actor}"
                self._number += 1
                answers = [item for item in items if isinstance(item, Answer)]
                rejects = [item for item in items if isinstance(item, Reject)]
                await asyncio.to_thread(
                    parts.put_part, self._store, question, self._chunk.place, name, answers, rejects
                )
