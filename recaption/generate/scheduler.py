"""Who asks what next: a pure state machine. Events go in, assignments come out; Ray is only its transport.

    listed(shard's chunks) ──► queue ──► assign() ──► running on an actor ──► chunk_done()
                                 ▲                            │
                                 └────────── lost(actor) ─────┘

It sees about a hundred bytes per chunk, never an image.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from recaption.generate.chunks import Chunk, Listing

AHEAD = 2
"""Requests kept at an actor, in units of its capacity: one lot in the engine, one ready behind it."""

MAX_CHUNKS = 64
"""Chunks at one actor: after a resume they may have an image each, and every one costs the actor memory and calls."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """A chunk for an actor. `attempt` counts from 0; above 0, parts of an earlier attempt may be there already."""

    actor: int
    chunk: Chunk
    attempt: int


@dataclass(kw_only=True, slots=True)
class _Actor:
    capacity: int
    running: dict[tuple[str, int], Assignment] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return sum(assignment.chunk.requests for assignment in self.running.values())

    @property
    def load(self) -> tuple[bool, float]:
        return len(self.running) >= MAX_CHUNKS, self.requests / self.capacity


@dataclass(kw_only=True, slots=True)
class _Shard:
    listing: Listing
    open: set[int]  # chunk numbers not done


class Scheduler:
    """State of one model's pass over the source."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Chunk, int]] = deque()  # chunk, attempt
        self._actors: dict[int, _Actor] = {}
        self._shards: dict[str, _Shard] = {}
        self._complete: list[Listing] = []
        self._all_listed = False

    # events

    def listed(self, listing: Listing) -> None:
        """A shard was indexed; its missing chunks join the queue."""
        self._shards[listing.shard.id] = _Shard(listing=listing, open={chunk.number for chunk in listing.chunks})
        self._queue.extend((chunk, 0) for chunk in listing.chunks)
        self._close_if_done(listing.shard.id)

    def all_listed(self) -> None:
        """No further shard will be listed."""
        self._all_listed = True

    def actor_ready(self, actor: int, capacity: int) -> None:
        """An engine has started and wants `capacity` requests in flight."""
        assert capacity > 0
        self._actors[actor] = _Actor(capacity=capacity)

    def chunk_done(self, actor: int, chunk: Chunk) -> None:
        """All of a chunk's images are answered or rejected, and put."""
        del self._actors[actor].running[chunk.shard.id, chunk.number]
        self._shards[chunk.shard.id].open.discard(chunk.number)
        self._close_if_done(chunk.shard.id)

    def chunk_failed(self, actor: int, chunk: Chunk) -> None:
        """The actor is well but could not finish the chunk: it goes to the end of the queue."""
        assignment = self._actors[actor].running.pop((chunk.shard.id, chunk.number))
        self._queue.append((chunk, assignment.attempt + 1))

    def lost(self, actor: int) -> list[Assignment]:
        """An actor is gone: what it had goes back to the head of the queue. Returns what it was working on."""
        gone = self._actors.pop(actor, None)
        returned = list(gone.running.values()) if gone else []
        self._queue.extendleft((a.chunk, a.attempt + 1) for a in reversed(returned))
        return returned

    # questions

    def assign(self) -> list[Assignment]:
        """Chunks to hand out now: every actor is filled up to AHEAD times its capacity, the emptiest first."""
        assignments: list[Assignment] = []
        while self._queue and self._actors:
            number = min(self._actors, key=lambda n: (*self._actors[n].load, n))
            actor = self._actors[number]
            if actor.requests >= AHEAD * actor.capacity or len(actor.running) >= MAX_CHUNKS:
                break
            chunk, attempt = self._queue.popleft()
            assignment = Assignment(actor=number, chunk=chunk, attempt=attempt)
            actor.running[chunk.shard.id, chunk.number] = assignment
            assignments.append(assignment)
        return assignments

    def completed(self) -> list[Listing]:
        """Shards that became complete since the last call, in order of completion."""
        complete, self._complete = self._complete, []
        return complete

    @property
    def queued(self) -> int:
        """Requests that wait for an actor."""
        return sum(chunk.requests for chunk, _ in self._queue)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self._queue and not any(actor.running for actor in self._actors.values())

    @property
    def finished(self) -> bool:
        return self._all_listed and self.idle and not self._shards

    def wants_shards(self, horizon: int) -> bool:
        """Whether fewer than `horizon` requests wait, so that more shards should be listed."""
        return not self._all_listed and self.queued < horizon

    def _close_if_done(self, shard: str) -> None:
        if not self._shards[shard].open:
            self._complete.append(self._shards.pop(shard).listing)
