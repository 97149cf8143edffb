"""What a run tells of itself while it goes: the closed list of events, and how they are told."""

from __future__ import annotations

from typing import Any, Literal, Protocol

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
    "warning",  # detail
    "suppressed",  # of (an event), count: more than a log takes in a minute
    "run_ended",  # state, error, seconds
]


class Tell(Protocol):
    """Says that something happened. Fields are plain values; nobody waits for what becomes of them."""

    def __call__(self, event: Event, level: Level = "info", **fields: Any) -> None: ...


def tell_nobody(event: Event, level: Level = "info", **fields: Any) -> None:
    """For whoever does not want to know."""
