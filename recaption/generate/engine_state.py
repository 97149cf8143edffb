"""The state of one engine, from the start of its actor to its removal, and the work that it gets.

starting ──► ready ──► retiring (it has failed, or is drained to be replaced) ──► removed: the record is dropped
    └───────────┴────► released: it gets no more work; removed at once
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from recaption.generate.chunks import Chunk
from recaption.generate.progress import EngineProgress

if TYPE_CHECKING:
    from recaption.generate.actor import Poll

MAX_CHUNKS = 64, 900
"""Chunks assigned to one engine at once: twice its capacity, but at least and at most this many. After a resume a chunk
may have one image, and each costs memory and an open call (a Ray actor's max_concurrency is 1000)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A chunk, or what is left of one, that waits for an actor. The counts are those of `Assignment`."""

    chunk: Chunk
    attempt: int = 0
    crashes: int = 0
    solo_crashes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """A piece of work that is assigned to an actor."""

    id: int
    actor: int
    chunk: Chunk
    attempt: int = 0  # earlier attempts that could not read all its images
    crashes: int = 0  # engine crashes during which its images were in flight
    quarantined: bool = False
    solo_crashes: int = 0  # how many of these crashes happened in quarantine, when the work was a single image
    reported: bool = False  # its actor has reported what it stored of this work


@dataclass(kw_only=True, slots=True, eq=False)
class EngineState:
    """One engine. Fleet starts and removes it, the scheduler assigns its work, the driver passes on its replies."""

    number: int  # never reused
    handle: Any = None  # of its actor, for the transport
    phase: Literal["starting", "ready", "retiring"] = "starting"
    capacity: int = 0  # requests that it wants in flight; known once it is ready
    # work
    running: dict[int, Assignment] = field(default_factory=dict)  # assignments that are not done, by id
    open: dict[int, tuple[int, int]] = field(default_factory=dict)  # id -> unfinished requests, and those not started
    outstanding: int = 0  # requests not finished, as of the last poll
    steal_pending: bool = False  # a request to give some of them back has no reply yet
    stamp: int = 0  # invalidates older entries in the scheduler's heap
    # health
    calls: int = 0  # calls for chunks that have not returned
    useful: bool = False  # it has answered something
    poll: Poll | None = None  # the last one
    poll_sent: float | None = None  # when the pending poll was sent
    poll_received: float = 0.0  # when the last reply to a poll arrived
    # the end
    surplus_since: float | None = None  # since when it can get no more work
    recycled: bool = False  # it is drained because it uses too much memory
    error: BaseException | None = None  # why it failed; None if it was drained
    reap_after: float | None = None  # it is removed at this time, or as soon as all its chunks have reported
    suspects: dict[int, tuple[int, ...]] = field(default_factory=dict)  # assignment -> rows in flight when it failed
    suspect_images: list[tuple[str, str]] = field(default_factory=list)  # shard and key of each of these rows

    @property
    def ready(self) -> bool:
        return self.phase == "ready"

    @property
    def load(self) -> float:
        return self.outstanding / self.capacity

    @property
    def max_chunks(self) -> int:
        return min(max(MAX_CHUNKS[0], 2 * self.capacity), MAX_CHUNKS[1])

    def not_started(self, assignment: Assignment) -> int:
        """Requests of an assignment that are not in the engine yet."""
        return self.open[assignment.id][1]

    @property
    def has_not_started(self) -> bool:
        """Whether it has requests that are not in the engine yet and that another engine can take."""
        return any(not_started and not self.running[n].quarantined for n, (_, not_started) in self.open.items())

    def progress(self, poll: Poll) -> EngineProgress:
        return EngineProgress(
            engine=self.number,
            node=poll.node,
            in_flight=poll.in_flight,
            answers=poll.answers,
            output_tokens=poll.counters.output_tokens.total(),
            share=poll.meter.share,
            host_bytes=poll.host_bytes,
            gpus=poll.gpus,
        )

    def recount(self) -> None:
        self.outstanding = sum(requests for requests, _ in self.open.values())

    def end(self, error: BaseException | None, reap_after: float) -> None:
        """It has failed with `error`, or was drained (None). Only the first end counts."""
        if self.reap_after is None:
            self.error, self.reap_after = error, reap_after
