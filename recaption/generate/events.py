"""What a run tells of itself while it goes: the closed list of events, and how they are told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

from recaption.generate.actor import Poll
from recaption.generate.chunks import Chunk, ShardListing
from recaption.generate.scheduler import Assignment
from recaption.types import Reject

SUSPECTS = 64  # images that are named of a dead engine

Level = Literal["info", "warning", "error"]
Event = Literal[
    "run_started",  # command, pipeline, host, pid, recaption, limit
    "shard_listed",  # model, shard, images, usable, to_ask (requests)
    "engine_started",  # model, engine (its number), capacity, what it runs on
    "engine_died",  # model, engine, detail, suspects: the images that were in it, as [shard, key]
    "engine_recycled",  # model, engine: it took too much memory and is replaced in order
    "chunk_failed",  # model, shard, chunk, attempt, detail: its images could not be read; it is tried again
    "quarantined",  # model, shard, chunk, images: engines died over them twice
    "image_rejected",  # model, generation, shard, key, row, reason, detail, attempts
    "rejects_not_named",  # model, count: more than an engine tells of at a time
    "shard_answered",  # model, shard: nothing of it is missing any more
    "progress",  # every few seconds; see Progress.brief
    "building",  # done and total, of dataset shards
    "built",  # build, changed
    "caption_unparsed",  # shard, key, caption_id, detail: a rule failed on it; it is kept whole, without tags
    "token_ids_failed",  # tokenizer, shard, key, caption_id, detail: texts of the caption have no stored ids
    "table_failed",  # table, shard, key, caption_id, detail: the caption has no rows in this table
    "failures_not_named",  # shard, count: more captions than a shard's entry names
    "warning",  # detail
    "suppressed",  # of (an event), count: more than a log takes in a minute
    "run_ended",  # state, error, seconds
]


class Tell(Protocol):
    """Says that something happened. Fields are plain values; nobody waits for what becomes of them."""

    def __call__(self, event: Event, level: Level = "info", **fields: Any) -> None: ...


def tell_nobody(event: Event, level: Level = "info", **fields: Any) -> None:
    """For whoever does not want to know."""


class PassTeller:
    """Tells of one model's pass over the source."""

    def __init__(self, model: str, tell: Tell) -> None:
        self._model, self._tell = model, tell

    def _say(self, event: Event, level: Level = "info", **fields: Any) -> None:
        self._tell(event, level, model=self._model, **fields)

    def listed(self, listing: ShardListing) -> None:
        to_ask = sum(chunk.requests for chunk in listing.chunks)
        self._say("shard_listed", shard=listing.shard.id, images=listing.images, usable=listing.usable, to_ask=to_ask)

    def answered(self, listing: ShardListing) -> None:
        """Nothing of a shard is missing any more; if nothing was, there is nothing to tell."""
        if listing.chunks:
            self._say("shard_answered", shard=listing.shard.id)

    def started(self, engine: int, capacity: int, runs: dict[str, str]) -> None:
        self._say("engine_started", engine=engine, capacity=capacity, runs=runs)

    def died(self, engine: int, words: str, images: Sequence[tuple[str, str]]) -> None:
        """`images`: shard and key of those that were in it."""
        self._say("engine_died", "error", engine=engine, detail=words, suspects=list(images[:SUSPECTS]))

    def recycled(self, engine: int) -> None:
        self._say("engine_recycled", "warning", engine=engine)

    def failed(self, assignment: Assignment, error: BaseException) -> None:
        """A chunk's images could not be read; it is tried again."""
        chunk = assignment.chunk
        where = {"shard": chunk.shard.id, "chunk": chunk.number}
        self._say("chunk_failed", "warning", **where, attempt=assignment.attempt, detail=str(error))

    def quarantined(self, chunk: Chunk) -> None:
        images = len(chunk.rows())
        self._say("quarantined", "warning", shard=chunk.shard.id, chunk=chunk.number, images=images)

    def polled(self, value: Any) -> None:
        """What an engine answered to a poll, if it is one.

        It tells of each reject once: none of its polls may be passed over, however late it comes.
        """
        if isinstance(value, Poll):
            self.rejected(value.rejected)
            if value.not_named:
                self._say("rejects_not_named", "warning", count=value.not_named)

    def rejected(self, rejects: Iterable[Reject]) -> None:
        for each in rejects:
            self._say(
                "image_rejected",
                "warning",
                generation=each.generation,
                shard=each.shard,
                key=each.key,
                row=each.row,
                reason=each.reason,
                detail=each.detail,
                attempts=each.attempts,
            )
