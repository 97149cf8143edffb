"""Lists the source's shards in order and has them indexed by tasks, ahead of the engines."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

from recaption.generate.chunks import Job, ShardListing, list_one
from recaption.generate.plan import ModelPlan
from recaption.generate.transport import Reply, Transport
from recaption.output.index import duplicate_keys
from recaption.types import SourceShard

AHEAD = 64  # shards that are listed and not taken


class ShardNames:
    """The source's shards in order, listed on a thread: a source that does not answer does not block the driver.

    `ended` is True once all of them are taken.
    """

    def __init__(self, shards: Iterator[SourceShard]) -> None:
        self.ended = False
        self._shards = shards
        self._queue: queue.Queue[SourceShard | BaseException | None] = queue.Queue(AHEAD)
        self._thread: threading.Thread | None = None

    def take(self, timeout: float) -> SourceShard | None:
        """The next shard; None after `timeout` seconds, or at the end. Raises what the source raises."""
        if self.ended:
            return None
        if self._thread is None:
            self._thread = threading.Thread(target=self._list, name="recaption-shards", daemon=True)
            self._thread.start()
        try:
            found = self._queue.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None
        if isinstance(found, BaseException):
            self.ended = True
            raise found
        self.ended = found is None
        return found

    def _list(self) -> None:
        try:
            for shard in self._shards:
                self._queue.put(shard)
        except BaseException as error:  # noqa: BLE001 - raised where the shard is taken
            self._queue.put(error)
        else:
            self._queue.put(None)


class ShardIndexer:
    """Has shards indexed in parallel and returns their listings in the source's order.

    The order matters for a limit on the number of images, which counts them in this order.
    """

    def __init__(
        self,
        model: ModelPlan,
        job: Job,
        transport: Transport,
        expect: Callable[[int, Callable[[Reply], None]], None],
    ) -> None:
        """`expect(ticket, handler)` registers the handler of a call's reply."""
        self._model, self._job, self._transport, self._expect = model, job, transport, expect
        self._names = ShardNames(job.source.shards())
        self._tickets: deque[int] = deque()  # in the source's order
        self._indexed: dict[int, ShardListing] = {}
        self._remaining = job.limit  # images
        self._first_keys: dict[str, str] = {}  # key of a shard's first row -> shard

    @property
    def ended(self) -> bool:
        """Whether all listings within the limit have been returned."""
        return (self._names.ended or self._remaining == 0) and not self._tickets

    def start(self, wanted: Callable[[], bool], ahead: int, seconds: float) -> None:
        """Start tasks while listings are `wanted`, up to `ahead` at a time. Waits at most `seconds` for the source."""
        until = time.monotonic() + seconds
        while (
            len(self._tickets) < ahead
            and self._remaining != 0
            and wanted()
            and (shard := self._names.take(until - time.monotonic())) is not None
        ):
            self._tickets.append(self._index(shard))

    def take(self) -> Iterator[ShardListing]:
        """Listings that are ready, in order.

        Raises what indexing raised, and DatasetError for two shards with the same first key: keys that collide from the
        first row on are found before a model is loaded, others by the build.
        """
        while self._tickets and self._tickets[0] in self._indexed:
            listing = self._indexed.pop(self._tickets.popleft())
            if self._remaining is not None:
                if listing.images > self._remaining:
                    self._tickets.appendleft(self._index(listing.shard, self._remaining))
                    continue
                self._remaining -= listing.images
            key, shard = listing.first_key, listing.shard.id
            if key is not None and (other := self._first_keys.setdefault(key, shard)) != shard:
                raise duplicate_keys(key, other, shard)
            yield listing
            if self._remaining == 0:
                self._tickets.clear()
                self._indexed.clear()

    def _index(self, shard: SourceShard, limit: int | None = None) -> int:
        from_source = self._model.engine is None
        ticket = self._transport.task(list_one, self._model.questions, self._job, shard, limit, from_source)

        def indexed(reply: Reply) -> None:
            if ticket in self._tickets:  # else it is beyond the limit
                self._indexed[ticket] = reply.result()

        self._expect(ticket, indexed)
        return ticket
