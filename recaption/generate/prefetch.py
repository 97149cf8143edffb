"""Reads and renders the images of assignments ahead of the engine, bounded by count and by bytes."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from recaption.decode import check_pixels
from recaption.engine.base import Rendered, Request
from recaption.errors import ImageError, RecaptionError, ShardError
from recaption.generate import render
from recaption.generate.chunk_state import ChunkState, QueuedImage, QueuedRequest
from recaption.generate.retry import first_attempt
from recaption.generate.utilisation import Meter
from recaption.io.store import Store
from recaption.output.index import load_index
from recaption.source import Source
from recaption.tasks.question import Question, requests
from recaption.types import Image, ImageLimits

READ_BYTES = 256 << 20  # of images that wait to be rendered
READY_BYTES = 512 << 20  # of rendered images that wait for the engine, in shared memory
READ_AT_ONCE = 16  # images
INDEXES_KEPT = 4  # shards


class Bound:
    """Limits the number and the bytes of images; one image always fits."""

    def __init__(self, count: int, nbytes: int) -> None:
        self.count = self.nbytes = 0
        self._most = count, nbytes
        self._changed = asyncio.Condition()

    @property
    def full(self) -> bool:
        return self.count > 0 and (self.count >= self._most[0] or self.nbytes >= self._most[1])

    async def room(self) -> None:
        """Wait until another image fits."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self.full)

    def take(self, nbytes: int) -> None:
        self.count += 1
        self.nbytes += nbytes

    async def free(self, nbytes: int) -> None:
        self.count -= 1
        self.nbytes -= nbytes
        async with self._changed:
            self._changed.notify_all()


class Prefetcher:
    """Reads the images of assignments in the order they were added, and renders them if the engine has a renderer."""

    def __init__(
        self,
        store: Store,
        source: Source,
        limits: ImageLimits,
        capacity: int,
        pool: render.RenderPool | None,
        meter: Meter,
    ) -> None:
        self._store, self._source, self._limits, self._pool, self._meter = store, source, limits, pool, meter
        self._states: asyncio.Queue[ChunkState] = asyncio.Queue()
        self._read: deque[QueuedImage] = deque()  # waiting for a renderer
        self._something_read = asyncio.Event()
        self._indexes: OrderedDict[tuple[str, str], list[Image]] = OrderedDict()
        self._held = Bound(max(READ_AT_ONCE, capacity), READ_BYTES)
        self._rendered = Bound(max(render.BATCH, capacity), READY_BYTES)
        self._tasks: set[asyncio.Task[Any]] = set()
        self.ready: deque[QueuedImage] = deque()
        self.rendering = 0  # images in the render workers
        self.on_ready: Callable[[], None] = lambda: None
        self.on_unusable: Callable[[QueuedImage, ImageError], None] = lambda item, error: None
        self.on_broken: Callable[[RecaptionError], None] = lambda error: None
        self._open: list[ChunkState] = []

    def start(self) -> None:
        self._spawn(self._read_chunks())
        if self._pool is not None:
            self._spawn(self._render_items())

    def add(self, state: ChunkState) -> None:
        self._open.append(state)
        self._states.put_nowait(state)

    def stop(self) -> None:
        """Stop reading and rendering."""
        for task in self._tasks:
            task.cancel()
        self._read.clear()
        self.ready.clear()
        if self._pool is not None:
            self._pool.stop()

    @property
    def reading(self) -> int:
        """Images that are not read yet."""
        self._open = [state for state in self._open if state.unread and not state.ended.is_set()]
        return sum(state.unread for state in self._open)

    @property
    def waiting(self) -> int:
        """Images that are read and not rendered yet."""
        return len(self._read) + self.rendering

    async def release(self, item: QueuedImage) -> None:
        """Free the space of an image that has left `ready` and is finished or dropped."""
        await (self._held if self._pool is None else self._rendered).free(item.nbytes)

    async def render(self, attempts: Sequence[Request]) -> list[Rendered | RecaptionError]:
        """Render requests of an image that has left `ready`, together: it is decoded once."""
        assert self._pool is not None
        return await self._pool.render(attempts)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.on_broken(
                error if isinstance(error, RecaptionError) else RecaptionError(f"{type(error).__name__}: {error}")
            )

    async def _read_chunks(self) -> None:
        while True:
            state = await self._states.get()
            try:
                await self._read_chunk(state)
            except RecaptionError as error:  # from the source, or from the store that has the index
                state.fail(error)
            finally:
                state.unread = 0

    async def _read_chunk(self, state: ChunkState) -> None:
        images = await asyncio.to_thread(self._index, state)
        wanted = [images[row] for row in sorted(state.queued)]
        reading = self._source.read(wanted)
        for at in range(0, len(wanted), READ_AT_ONCE):
            if not any(image.row in state.queued for image in wanted[at:]):
                return  # the rest was given back
            await self._held.room()
            started = time.monotonic()
            batch = await asyncio.to_thread(lambda: list(itertools.islice(reading, READ_AT_ONCE)))
            seconds = time.monotonic() - started
            self._meter.spent("read", seconds, len(batch))
            self._meter.took("read", seconds)
            assert len(batch) == len(wanted[at : at + READ_AT_ONCE]), "Source.read must yield every image it is given"
            state.unread -= len(batch)
            queued = [(image, data, state.queued[image.row]) for image, data in batch if image.row in state.queued]
            checked = await asyncio.gather(*(self._checked(data) for _, data, _ in queued))
            work = [(image, data, list(questions)) for (image, _, questions), data in zip(queued, checked, strict=True)]
            items = await asyncio.to_thread(self._items, state, work)
            for item, data in zip(items, checked, strict=True):
                if item.wanted:
                    self._take_in(item, data if isinstance(data, ImageError) else None)

    async def _checked(self, data: bytes | ImageError) -> bytes | ImageError:
        """The bytes of an image, or why it cannot be used.

        Renderers find undecodable images themselves. Other engines may send the file on without decoding it, and a
        build would then reject an image whose answers exist: these images are decoded here, each in a thread.
        """
        if self._pool is None and isinstance(data, bytes) and self._source.has_images:
            try:
                await asyncio.to_thread(check_pixels, data, self._limits)
            except ImageError as error:
                return error
        return data

    @staticmethod
    def _items(
        state: ChunkState, work: Iterable[tuple[Image, bytes | ImageError, list[Question]]]
    ) -> list[QueuedImage]:
        """Images with their prompts filled in."""
        items = []
        for image, data, questions in work:
            content = data if isinstance(data, bytes) else b""
            queued = [
                QueuedRequest(request=request, first=first_attempt(request, content))
                for question in questions
                if not question.per_unit
                for request in requests(question, image)
            ]
            later = tuple(question for question in questions if question.per_unit)
            items.append(QueuedImage(state=state, image=image, data=content, requests=queued, later=later))
        return items

    def _take_in(self, item: QueuedImage, error: ImageError | None) -> None:
        if error is not None:
            self.on_unusable(item, error)
            return
        self._held.take(len(item.data))
        if self._pool is None:
            self._offer(item)
        else:
            self._read.append(item)
            self._something_read.set()

    def _offer(self, item: QueuedImage) -> None:
        item.since = time.monotonic()
        self.ready.append(item)
        self.on_ready()

    async def _render_items(self) -> None:
        assert self._pool is not None
        while True:
            await self._something_read.wait()
            await self._pool.place()
            await self._rendered.room()
            batch: list[QueuedImage] = []
            while self._read and sum(len(item.requests) for item in batch) < render.BATCH:
                item = self._read.popleft()
                await self._held.free(len(item.data))
                if item.wanted:
                    batch.append(item)
            if not self._read:
                self._something_read.clear()
            if batch:
                self.rendering += len(batch)
                self._spawn(self._render(batch))
                await asyncio.sleep(0)  # let the batch take its worker before the next one looks for a free worker

    async def _render(self, batch: list[QueuedImage]) -> None:
        assert self._pool is not None
        queued = [(request, request.first) for item in batch for request in item.requests if request.first is not None]
        try:
            results = await self._pool.render([first for _, first in queued])
            for (request, _), result in zip(queued, results, strict=True):
                request.rendered = result
                if isinstance(result, RecaptionError):
                    continue
                self._meter.spent("decode", result.decode_seconds)
                self._meter.spent("render", result.render_seconds)
        finally:
            self.rendering -= len(batch)
        for item in batch:
            self._rendered.take(item.nbytes)
            self._offer(item)

    def _index(self, state: ChunkState) -> list[Image]:
        """The shard's images. The last few shards are kept, because chunks of one shard follow each other."""
        chunk = state.chunk
        key = chunk.shard.id, chunk.digest
        if key not in self._indexes:
            images, digest = load_index(self._store, self._source, chunk.shard)
            if digest != chunk.digest:
                raise ShardError(f"{chunk.shard.path} changed while it was being read", shard=chunk.shard.id)
            self._indexes[key] = images
            while len(self._indexes) > INDEXES_KEPT:
                self._indexes.popitem(last=False)
        return self._indexes[key]
