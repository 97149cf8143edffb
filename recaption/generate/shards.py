"""A source's shards, listed on a thread of their own: a source that does not answer does not stop the driver."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

from recaption.types import SourceShard

AHEAD = 64  # shards that are listed and not taken yet


class ShardList:
    """The shards in their order. `ended` is True once all of them are taken."""

    def __init__(self, shards: Iterator[SourceShard]) -> None:
        self.ended = False
        self._shards = shards
        self._queue: queue.Queue[SourceShard | BaseException | None] = queue.Queue(AHEAD)
        self._thread: threading.Thread | None = None

    def take(self, timeout: float) -> SourceShard | None:
        """The next shard. None after `timeout` seconds, or at the end. Raises what the source raises."""
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
        except BaseException as error:  # noqa: BLE001 - it is raised where the shard is taken
            self._queue.put(error)
        else:
            self._queue.put(None)
