"""From handed-out chunks to images that are ready for the engine: read, render, bounded by count and by bytes."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from typing import Any

from recaption.decode import check_pixels
from recaption.engine.base import Request
from recaption.errors import ImageError, RecaptionError, RequestError, ShardError
from recaption.generate import render
from recaption.generate.meter import Meter
from recaption.generate.retry import first_request
from recaption.generate.work import HostSpec, Item, Work
from recaption.io.store import Store
from recaption.output.index import load_index
from recaption.tasks.question import Question
from recaption.types import Image

READ_BYTES = 256 << 20  # of images in memory that are not rendered yet
READY_BYTES = 512 << 20  # of what is rendered and waits; it lies in shared memory
READ_AT_ONCE = 16  # images
INDEXES_KEPT = 4  # shards


class Bound:
    """Room for so many images and so many bytes; one image always fits."""

    def __init__(self, count: int, nbytes: int) -> None:
        self.count = self.nbytes = 0
        self._most = count, nbytes
        self._changed = asyncio.Condition()

    @property
    def full(self) -> bool:
        return self.count > 0 and (self.count >= self._most[0] or self.nbytes >= self._most[1])

    async def room(self) -> None:
        """Wait until something more may come in."""
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


class Intake:
    """Reads works one after another, in the order they came, renders what the engine wants rendered, keeps it ready."""

    def __init__(
        self, spec: HostSpec, store: Store, capacity: int, pool: render.RenderPool | None, meter: Meter
    ) -> None:
        self._spec, self._store, self._pool, self._meter = spec, store, pool, meter
        self._works: asyncio.Queue[Work] = asyncio.Queue()
        self._read: deque[Item] = deque()  # waiting for a renderer
        self._something_read = asyncio.Event()
        self._indexes: OrderedDict[tuple[str, str], list[Image]] = OrderedDict()
        self._held = Bound(max(READ_AT_ONCE, capacity), READ_BYTES)
        self._rendered = Bound(max(render.BATCH, capacity), READY_BYTES)
        self._tasks: set[asyncio.Task[Any]] = set()
        self.ready: deque[Item] = deque()
        self.rendering = 0  # images at the workers
        self.on_ready: Callable[[], None] = lambda: None
        self.on_unusable: Callable[[Item, ImageError], None] = lambda item, error: None
        self.on_broken: Callable[[RecaptionError], None] = lambda error: None
        self._open: list[Work] = []

    def start(self) -> None:
        self._spawn(self._read_works())
        if self._pool is not None:
            self._spawn(self._render_items())

    def add(self, work: Work) -> None:
        self._open.append(work)
        self._works.put_nowait(work)

    def stop(self) -> None:
        """Begin nothing more."""
        for task in self._tasks:
            task.cancel()
        self._read.clear()
        self.ready.clear()
        if self._pool is not None:
            self._pool.stop()

    @property
    def reading(self) -> int:
        """Images handed out and not read yet."""
        self._open = [work for work in self._open if work.unread and not work.ended.is_set()]
        return sum(work.unread for work in self._open)

    @property
    def waiting(self) -> int:
        """Images read and not rendered."""
        return len(self._read) + self.rendering

    async def taken(self, item: Item) -> None:
        """An item left `ready`, for the engine or for nowhere."""
        await (self._held if self._pool is None else self._rendered).free(item.nbytes)

    async def again(self, request: Request) -> Any:
        """Render one request of a later attempt. Raises ImageError, RequestError."""
        assert self._pool is not None
        [result] = await self._pool.render([request])
        if isinstance(result, RecaptionError):
            raise result
        return result

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

    async def _read_works(self) -> None:
        while True:
            work = await self._works.get()
            try:
                await self._read_work(work)
            except RecaptionError as error:  # of this shard, or of the store its index lies in
                work.fail(error)
            finally:
                work.unread = 0

    async def _read_work(self, work: Work) -> None:
        images = await asyncio.to_thread(self._index, work)
        wanted = [images[row] for row in sorted(work.todo)]
        reading = self._spec.source.read(wanted)
        for at in range(0, len(wanted), READ_AT_ONCE):
            if not any(image.row in work.todo for image in wanted[at:]):
                return  # all the rest was given back
            await self._held.room()
            started = time.monotonic()
            batch = await asyncio.to_thread(lambda: list(itertools.islice(reading, READ_AT_ONCE)))
            self._meter.spent("read", time.monotonic() - started, len(batch))
            if self._pool is None:
                batch = await asyncio.gather(*(asyncio.to_thread(self._checked, image, data) for image, data in batch))
            assert len(batch) == len(wanted[at : at + READ_AT_ONCE]), "a source must give back what it was asked for"
            for image, data in batch:
                work.unread -= 1
                if image.row in work.todo:
                    self._take_in(work, image, data)

    def _checked(self, image: Image, data: bytes | ImageError) -> tuple[Image, bytes | ImageError]:
        """The image, if Pillow decodes it. Renderers do that by themselves; engines that need none may send it on as it
        is, and a build does not take what cannot be decoded."""
        if isinstance(data, ImageError):
            return image, data
        try:
            check_pixels(data, self._spec.engine.limits)
        except ImageError as error:
            return image, error
        return image, data

    def _take_in(self, work: Work, image: Image, data: bytes | ImageError) -> None:
        item = Item(work=work, image=image, data=b"", questions=work.todo[image.row])
        if isinstance(data, ImageError):
            self.on_unusable(item, data)
            return
        item.data = data
        self._held.take(len(data))
        if self._pool is None:
            self._offer(item)
        else:
            self._read.append(item)
            self._something_read.set()

    def _offer(self, item: Item) -> None:
        item.since = time.monotonic()
        self.ready.append(item)
        self.on_ready()

    async def _render_items(self) -> None:
        assert self._pool is not None
        while True:
            await self._something_read.wait()
            await self._pool.place()
            await self._rendered.room()
            batch: list[Item] = []
            while self._read and sum(len(item.questions) for item in batch) < render.BATCH:
                item = self._read.popleft()
                await self._held.free(len(item.data))
                if item.wanted:
                    batch.append(item)
            if not self._read:
                self._something_read.clear()
            if batch:
                self.rendering += len(batch)
                self._spawn(self._render(batch))
                await asyncio.sleep(0)  # it takes its place before the next one looks for one

    async def _render(self, batch: list[Item]) -> None:
        assert self._pool is not None
        requests: list[Request] = []
        whose: list[tuple[Item, Question]] = []
        for item in batch:
            for question in item.questions:
                try:
                    requests.append(first_request(question, item.image, item.data))
                    whose.append((item, question))
                except RequestError as error:  # the prompt cannot be filled in: asking says so
                    item.rendered[question.id] = error
        try:
            for (item, question), result in zip(whose, await self._pool.render(requests), strict=True):
                item.rendered[question.id] = result
                if isinstance(result, RecaptionError):
                    continue
                self._meter.spent("decode", result.decode_seconds)
                self._meter.spent("render", result.render_seconds)
        finally:
            self.rendering -= len(batch)
        for item in batch:
            self._rendered.take(item.nbytes)
            self._offer(item)

    def _index(self, work: Work) -> list[Image]:
        """The shard's images; the last few shards are kept, chunks of one shard come one after another."""
        chunk = work.chunk
        place = chunk.shard.id, chunk.digest
        if place not in self._indexes:
            images, digest = load_index(self._store, self._spec.source, chunk.shard)
            if digest != chunk.digest:
                raise ShardError(f"{chunk.shard.path} changed while it was being read", shard=chunk.shard.id)
            self._indexes[place] = images
            while len(self._indexes) > INDEXES_KEPT:
                self._indexes.popitem(last=False)
        return self._indexes[place]
