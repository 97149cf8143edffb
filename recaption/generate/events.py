"""The events of a run: the closed list of their names and fields, and the events of one model's pass."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol

from recaption.generate.actor import Poll
from recaption.generate.chunks import Chunk, ShardListing
from recaption.generate.engine_state import Assignment, EngineState
from recaption.types import Reject

SUSPECTS = 64  # images in flight that `engine_died` names

Level = Literal["info", "warning", "error"]
Event = Literal[
    "run_started",  # command, pipeline, host, pid, recaption, limit
    "shard_listed",  # model, shard, images, usable, to_ask (requests)
    "engine_started",  # model, engine (its number), capacity, runs (its provenance)
    "engine_died",  # model, engine, detail, suspects: the images in flight, as [shard, key]
    "engine_recycled",  # model, engine: it used too much memory; it was drained and is replaced
    "engine_released",  # model, engine: it got no more work, because all requests were in other engines
    "waiting_for_gpus",  # model, needed (GPUs of one engine), nodes (GPUs of each node): no node has enough of them
    "gpus_available",  # model, seconds: the wait until a node had enough GPUs for an engine
    "chunk_failed",  # model, shard, chunk, attempt, detail: its images could not be read; it is retried
    "quarantined",  # model, shard, chunk, images: in flight during two engine crashes; they are retried in isolation
    "image_rejected",  # model, generation, shard, key, row, reason, detail, attempts
    "rejects_not_named",  # model, count: rejects of an engine beyond those that are logged one by one
    "shard_answered",  # model, shard: all its answers and rejects are stored
    "progress",  # every few seconds; see PassProgress.event
    "building",  # done and total, of dataset shards
    "built",  # build, changed
    "caption_unparsed",  # shard, key, caption_id, detail: a rule failed on it; kept as one sub-caption without tags
    "token_ids_failed",  # tokenizer, shard, key, caption_id, detail: texts of the caption have no stored ids
    "table_failed",  # table, shard, key, caption_id, detail: the caption has no rows in this table
    "failures_not_named",  # shard, count: failed captions beyond those that are logged one by one
    "warning",  # detail
    "suppressed",  # of (the name of an event), count: events beyond the log's limit per minute
    "run_ended",  # state, error, seconds
]


class Emit(Protocol):
    """Records an event. Fields are plain values. Returns at once, whatever happens to the event."""

    def __call__(self, event: Event, level: Level = "info", **fields: Any) -> None: ...


def ignore_event(event: Event, level: Level = "info", **fields: Any) -> None:
    """An `Emit` without a log."""


class PassEvents:
    """Emits the events of one model's pass over the source."""

    def __init__(self, model: str, emit: Emit) -> None:
        self._model, self._sink = model, emit

    def _emit(self, event: Event, level: Level = "info", **fields: Any) -> None:
        self._sink(event, level, model=self._model, **fields)

    def shard_listed(self, listing: ShardListing) -> None:
        to_ask = sum(chunk.requests for chunk in listing.chunks)
        shard = listing.shard.id
        self._emit("shard_listed", shard=shard, images=listing.images, usable=listing.usable, to_ask=to_ask)
        self.rejected(listing.rejected)

    def shard_answered(self, listing: ShardListing) -> None:
        """Not emitted for a shard that was complete before the run."""
        if listing.chunks:
            self._emit("shard_answered", shard=listing.shard.id)

    def engine_started(self, engine: EngineState, provenance: dict[str, str]) -> None:
        self._emit("engine_started", engine=engine.number, capacity=engine.capacity, runs=provenance)

    def engine_died(self, engine: EngineState, detail: str, suspects: Sequence[tuple[str, str]]) -> None:
        """`suspects`: shard and key of each image that was in flight."""
        self._emit("engine_died", "error", engine=engine.number, detail=detail, suspects=list(suspects[:SUSPECTS]))

    def engine_recycled(self, engine: EngineState) -> None:
        self._emit("engine_recycled", "warning", engine=engine.number)

    def engine_released(self, engine: EngineState) -> None:
        self._emit("engine_released", engine=engine.number)

    def waiting_for_gpus(self, needed: int, nodes: Sequence[int]) -> None:
        self._emit("waiting_for_gpus", "warning", needed=needed, nodes=list(nodes))

    def gpus_available(self, seconds: float) -> None:
        self._emit("gpus_available", seconds=round(seconds, 1))

    def chunk_failed(self, assignment: Assignment, error: BaseException) -> None:
        chunk = assignment.chunk
        where = {"shard": chunk.shard.id, "chunk": chunk.number}
        self._emit("chunk_failed", "warning", **where, attempt=assignment.attempt, detail=str(error))

    def quarantined(self, chunk: Chunk) -> None:
        images = len(chunk.rows())
        self._emit("quarantined", "warning", shard=chunk.shard.id, chunk=chunk.number, images=images)

    def polled(self, value: Any) -> None:
        """The rejects in an engine's poll; values of other calls are ignored.

        Each reject is in one poll only, so every poll has to be passed on, however late it arrives.
        """
        if isinstance(value, Poll):
            self.rejected(value.rejected)
            if value.not_named:
                self._emit("rejects_not_named", "warning", count=value.not_named)

    def rejected(self, rejects: Iterable[Reject]) -> None:
        names = ("generation", "shard", "key", "row", "reason", "detail", "attempts")
        for reject in rejects:
            self._emit("image_rejected", "warning", **{name: getattr(reject, name) for name in names})
