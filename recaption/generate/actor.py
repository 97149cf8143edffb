"""The actor that holds one engine: reads a chunk's images, asks, and puts the parts itself.

Plain asyncio, no Ray in it: `driver` turns `EngineHost` into a Ray actor, tests run it as it is.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from recaption import engine as engines
from recaption.engine.base import Completion, Engine, EngineSpec, Request
from recaption.errors import EngineDead, ImageError, Interrupted, RecaptionError, ShardError, UserError
from recaption.generate import parts
from recaption.generate.chunks import Chunk, load_index, prompt_sha256
from recaption.generate.plan import Question
from recaption.generate.retry import ask_until_answered, reject
from recaption.source import Source
from recaption.store import Store, open_store
from recaption.types import Answer, Image, Reject

FLUSH_COUNT = 64  # answers
FLUSH_SECONDS = 5.0
READ_ATTEMPTS = 3  # times that an image which cannot be read is tried before it is a reject
INDEXES_KEPT = 4  # shards
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
        self._given = engine
        self._counters = Counters()
        self._draining = False
        self._buffers: set[_Buffer] = set()
        self._indexes: OrderedDict[tuple[str, str], list[Image]] = OrderedDict()

    async def start(self) -> tuple[int, dict[str, str]]:
        """Start the engine. Returns its capacity (requests in flight) and its provenance.

        Raises what the user can mend as it is (ConfigError, MissingExtra), everything else as EngineDead.
        """
        try:
            self._engine: Engine = self._given or engines.build(self._spec.engine)
            await self._engine.start()
        except (RecaptionError, UserError, ImportError):
            raise
        except Exception as error:
            raise EngineDead(f"the engine did not start: {type(error).__name__}: {error}") from error
        capacity = self._engine.capacity
        self._images = asyncio.Semaphore(READ_AHEAD * capacity)  # images in memory, all chunks together
        self._slots = asyncio.Semaphore(capacity)  # requests in the engine
        return capacity, self._engine.provenance()

    async def run_chunk(self, chunk: Chunk, attempt: int = 0) -> None:
        """Answer or reject everything that the chunk misses, and put it: when this returns, it lies in the store.

        Raises EngineDead, StoreError, ShardError (the source cannot be read now), Interrupted (drained).
        """
        images = await asyncio.to_thread(self._index, chunk)
        pending = await asyncio.to_thread(self._pending, chunk, images, attempt)
        buffer = _Buffer(self._store, self._spec, chunk)
        self._buffers.add(buffer)
        try:
            async with asyncio.TaskGroup() as tasks:
                flusher = tasks.create_task(buffer.flush_regularly())
                asked = [
                    tasks.create_task(self._one_image(image, data, pending[image.row], buffer, attempt))
                    async for image, data in self._read([images[row] for row in sorted(pending)])
                ]
                await asyncio.gather(*asked)
                flusher.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # the first failure of an engine or store; the others follow from it
        finally:
            await buffer.flush()  # what was paid for is kept, whatever else went wrong
            self._buffers.discard(buffer)
        if self._draining:
            raise Interrupted("drained on request")

    async def counters(self) -> Counters:
        return self._counters

    async def drain(self, deadline: float) -> None:
        """Take in nothing more, wait at most `deadline` seconds for what is in the engine, and put what is answered."""
        self._draining = True
        until = time.monotonic() + deadline
        while self._counters.in_flight and time.monotonic() < until:
            await asyncio.sleep(0.05)
        await asyncio.gather(*(buffer.flush() for buffer in list(self._buffers)))

    async def stop(self) -> None:
        await self._engine.stop()

    def _index(self, chunk: Chunk) -> list[Image]:
        """The shard's images; the last few shards are kept, chunks of one shard come one after another."""
        place = chunk.shard.id, chunk.digest
        if place not in self._indexes:
            images, digest = load_index(self._store, self._spec.source, chunk.shard)
            if digest != chunk.digest:
                raise ShardError(f"{chunk.shard.path} changed while it was being read", shard=chunk.shard.id)
            self._indexes[place] = images
            while len(self._indexes) > INDEXES_KEPT:
                self._indexes.popitem(last=False)
        return self._indexes[place]

    def _pending(self, chunk: Chunk, images: list[Image], attempt: int) -> dict[int, list[Question]]:
        """Row -> questions to ask; after a lost actor, without what that one had put already."""
        pending = {row: [q for i, q in enumerate(self._spec.questions) if chunk.asks(row, i)] for row in chunk.rows()}
        if attempt == 0:
            return pending
        for question in self._spec.questions:
            done = parts.finished(self._store, question, chunk.shard.id)
            for row, questions in pending.items():
                if question in questions and done.has(images[row].sha256, prompt_sha256(question, images[row])):
                    questions.remove(question)
        return {row: questions for row, questions in pending.items() if questions}

    async def _read(self, images: list[Image]) -> AsyncIterator[tuple[Image, bytes | ImageError]]:
        """Images with their bytes, read in a thread; never more in memory than the bound allows."""
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
        self, image: Image, data: bytes | ImageError, questions: list[Question], buffer: _Buffer, attempt: int
    ) -> None:
        """All prompts of one image back to back, so that an engine can reuse what it computed for the image."""
        try:
            if isinstance(data, ImageError):
                if data.reason == "unreadable" and attempt < READ_ATTEMPTS - 1:
                    raise ShardError(str(data), shard=image.shard)  # it may pass: the chunk is tried again
                items: list[Any] = [reject(q, image, data.reason, str(data), []) for q in questions]
            else:
                asked = (ask_until_answered(q, image, data, self._ask) for q in questions)
                items = await asyncio.gather(*asked, return_exceptions=True)
            for question, item in zip(questions, items, strict=True):
                if not isinstance(item, BaseException):
                    self._counters.count(item, question.id)
                    await buffer.add(question, item)
            for item in items:
                if isinstance(item, BaseException) and not isinstance(item, Interrupted):
                    raise item
        finally:
            self._images.release()

    async def _ask(self, request: Request) -> Completion:
        async with self._slots:
            if self._draining:
                raise Interrupted("drained on request")
            self._counters.in_flight += 1
            try:
                return await self._engine.generate(request)
            except (RecaptionError, asyncio.CancelledError):
                raise
            except Exception as error:
                raise EngineDead(f"the engine failed: {type(error).__name__}: {error}") from error
            finally:
                self._counters.in_flight -= 1


class _Buffer:
    """Finished items of one chunk on their way into parts: put every 64 of a question, or after 5 s."""

    def __init__(self, store: Store, spec: HostSpec, chunk: Chunk) -> None:
        self._store, self._spec, self._chunk = store, spec, chunk
        self._items: dict[str, list[Answer | Reject]] = {question.id: [] for question in spec.questions}
        self._number = 0
        self._lock = asyncio.Lock()
        self._puts: set[asyncio.Task[None]] = set()

    async def add(self, question: Question, item: Answer | Reject) -> None:
        self._items[question.id].append(item)
        if len(self._items[question.id]) >= FLUSH_COUNT:
            await self.flush()

    async def flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Put what is there. A caller that is cancelled leaves the put running; the next flush waits for it."""
        put = asyncio.ensure_future(self._put())
        self._puts.add(put)
        put.add_done_callback(self._ended)
        await asyncio.shield(put)

    def _ended(self, put: asyncio.Task[None]) -> None:
        self._puts.discard(put)
        if not put.cancelled():
            put.exception()  # seen: if nobody waits for it any more, the next flush meets the same trouble

    async def _put(self) -> None:
        async with self._lock:
            for question in self._spec.questions:
                items, self._items[question.id] = self._items[question.id], []
                if not items:
                    continue
                name = f"{self._chunk.number:06d}.{self._spec.epoch:06d}-{self._number:04d}-{self._spec.actor}"
                self._number += 1
                answers = [item for item in items if isinstance(item, Answer)]
                rejects = [item for item in items if isinstance(item, Reject)]
                try:
                    await asyncio.to_thread(
                        parts.put_part, self._store, question, self._chunk.shard.id, name, answers, rejects
                    )
                except BaseException:
                    self._items[question.id][:0] = items
                    raise
