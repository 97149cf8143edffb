"""Which engine works on which chunk: a pure state machine. Events go in, assignments come out.

    listed(shard's chunks) ──► queue ──► assign() ──► running on an actor ──► done()
                                 ▲                     │            │
                                 │                  lost()      given_back()
                                 │                     ▼            │
                                 └── rechecked() ◄── to_recheck()   │
                                 └──────────────────────────────────┘
    in flight during two crashes ──► quarantine: retried in isolation, and rejected as poison (see `poison`)

It holds about a hundred bytes per chunk and no image. Its cost per chunk does not grow with the number of actors.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from recaption.generate.chunks import Chunk, ShardListing
from recaption.generate.engine_state import Assignment, EngineState, Piece
from recaption.generate.poison import MAX_CRASHES, Quarantine

AHEAD = 3
"""Requests assigned to an actor in units of its capacity: one in the engine and two waiting for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steal:
    """Request that the actor of `assignment` gives back up to `requests` that it has not started."""

    assignment: Assignment
    requests: int


@dataclass(kw_only=True, slots=True)
class _Shard:
    listing: ShardListing
    open: int  # pieces not done


class Scheduler:
    """State of one model's pass over the source."""

    def __init__(self) -> None:
        self.engines: dict[int, EngineState] = {}
        """All engines that are not removed, by number."""
        self.queued = 0
        """Requests that wait for an actor, without those in quarantine."""
        self._queue: deque[Piece] = deque()
        self._quarantine = Quarantine()
        self._rechecks: dict[int, tuple[Assignment, bool]] = {}  # with whether it may have crashed its engine
        self._heap: list[tuple[float, int, int]] = []  # load, actor, stamp
        self._shards: dict[str, _Shard] = {}
        self._complete: list[ShardListing] = []
        self._all_listed = False
        self._ids = itertools.count()

    # events

    def listed(self, listing: ShardListing) -> None:
        """A shard was indexed; its missing chunks join the queue."""
        self._shards[listing.shard.id] = _Shard(listing=listing, open=len(listing.chunks))
        for chunk in listing.chunks:
            self._push(Piece(chunk=chunk))
        self._close_if_done(listing.shard.id)

    def all_listed(self) -> None:
        """There are no further shards."""
        self._all_listed = True

    def actor_ready(self, actor: int, capacity: int) -> None:
        """An engine has started and wants `capacity` requests in flight."""
        assert capacity > 0
        engine = self.engines.setdefault(actor, EngineState(number=actor))
        engine.phase, engine.capacity = "ready", capacity
        self._offer(engine)

    def polled(self, actor: int, open: Mapping[int, tuple[int, int]]) -> None:
        """An actor's progress: assignment -> requests not finished, and of them those not started."""
        engine = self.engines.get(actor)
        if engine is not None:
            engine.open.update((n, counts) for n, counts in open.items() if n in engine.running)
            engine.recount()
            self._offer(engine)

    def done(self, assignment: Assignment, covered: Chunk) -> None:
        """The actor has stored `covered`: all of the assignment except what it gave back."""
        current = self._take(assignment)
        if current is None:
            return
        rest = current.chunk.minus(covered)
        if rest.requests:  # it was given back; the reply to that call comes later and finds the assignment gone
            self._shards[covered.shard.id].open += 1
            self._push(Piece(chunk=rest, attempt=current.attempt, crashes=current.crashes), first=True)
        self._piece_done(covered)

    def reported(self, assignment: Assignment) -> bool:
        """The actor has reported what it stored. False if the actor is removed: then the store has to be read."""
        engine = self.engines.get(assignment.actor)
        current = engine.running.get(assignment.id) if engine else None
        if engine is None or current is None:
            return False
        engine.running[assignment.id] = replace(current, reported=True)
        return True

    def failed(self, assignment: Assignment) -> None:
        """The actor works but could not read all images: what is missing goes to the end of the queue."""
        current = self._take(assignment)
        if current is not None:
            self._rechecks[current.id] = replace(current, attempt=current.attempt + 1), False

    def returned(self, assignment: Assignment) -> None:
        """The actor was drained: what is missing goes back to the queue and counts no crash."""
        current = self._take(assignment)
        if current is not None:
            self._rechecks[current.id] = current, False

    def retire(self, actor: int) -> None:
        """Assign no more work to an actor."""
        if actor in self.engines:
            self.engines[actor].phase = "retiring"
            if self._quarantine.actor == actor:
                self._quarantine.actor = None

    def lost(self, actor: int, suspects: Mapping[int, Collection[int]] | None = None) -> list[Assignment]:
        """An actor is removed. `suspects`: assignment -> rows in flight when its engine crashed; None if unknown.

        Returns its assignments; each has to come back through `rechecked`. If the rows are unknown, all missing rows of
        an assignment count as in flight if the actor had started it, if it is the actor's first one, or if an engine
        has crashed with it before: the last poll may be too old to say that the actor has started it since.
        """
        lost = self.engines.pop(actor, None)
        if self._quarantine.actor == actor:
            self._quarantine.actor = None
        if lost is None:
            return []
        returned = []
        for position, assignment in enumerate(lost.running.values()):
            if suspects is not None and not assignment.quarantined:
                rows = suspects.get(assignment.id, ())
                in_flight, rest = assignment.chunk.only(rows), assignment.chunk.without(rows)
                parts = [(part, crashed) for part, crashed in ((in_flight, True), (rest, False)) if part.requests]
                parts = parts or [(rest, False)]  # all of it was given back: the recheck closes the shard
                self._shards[assignment.chunk.shard.id].open += len(parts) - 1
            else:
                started = lost.not_started(assignment) < assignment.chunk.requests
                crashed = position == 0 or started or assignment.crashes > 0 or assignment.quarantined
                parts = [(assignment.chunk, crashed)]
            for chunk, crashed in parts:
                part = replace(assignment, id=next(self._ids), chunk=chunk)
                self._rechecks[part.id] = part, crashed
                returned.append(part)
        return returned

    def rechecked(self, assignment: Assignment, missing: Chunk) -> None:
        """The store was read: `missing` is what is still missing of `assignment`."""
        assignment, crashed = self._rechecks.pop(assignment.id)
        if not missing.requests:
            self._piece_done(missing)
            return
        crashes = assignment.crashes + crashed
        piece = Piece(chunk=missing, attempt=assignment.attempt, crashes=crashes, solo_crashes=assignment.solo_crashes)
        if assignment.quarantined and crashed:
            single = len(assignment.chunk.rows()) == 1
            self._shards[missing.shard.id].open += self._quarantine.crashed(piece, single=single) - 1
        elif crashes >= MAX_CRASHES:
            self._shards[missing.shard.id].open += self._quarantine.add(piece) - 1
        elif assignment.attempt and not crashed:
            self._push(piece)  # last: a read error may be temporary
        else:
            self._push(piece, first=True)

    def given_back(self, assignment: Assignment, chunk: Chunk | None) -> None:
        """The actor gave back `chunk`, a part of what it had not started (None: nothing)."""
        engine = self.engines.get(assignment.actor)
        if engine is not None:
            engine.steal_pending = False
        if chunk is None or not chunk.requests:
            return
        current = engine.running.get(assignment.id) if engine else None
        if engine is None or current is None:
            return  # the actor was lost meanwhile: all of the assignment is rechecked
        engine.running[assignment.id] = replace(current, chunk=current.chunk.minus(chunk))
        unfinished, not_started = engine.open[assignment.id]
        engine.open[assignment.id] = max(0, unfinished - chunk.requests), max(0, not_started - chunk.requests)
        engine.recount()
        self._offer(engine)
        self._shards[chunk.shard.id].open += 1
        self._push(Piece(chunk=chunk, attempt=current.attempt, crashes=current.crashes), first=True)

    def poison_stored(self, chunk: Chunk) -> None:
        """The rejects of an image that `poison` has returned are stored."""
        self._piece_done(chunk)

    # decisions

    def assign(self) -> list[Assignment]:
        """New assignments: each actor gets up to AHEAD times its capacity, the one with the lowest load first."""
        assignments: list[Assignment] = []
        self._assign_quarantined(assignments)
        while self._queue and self._heap:
            load, number, stamp = self._heap[0]
            engine = self.engines.get(number)
            if engine is None or engine.stamp != stamp or not engine.ready or number == self._quarantine.actor:
                heapq.heappop(self._heap)
                continue
            if load >= AHEAD:
                break
            if len(engine.running) >= engine.max_chunks:
                heapq.heappop(self._heap)  # pushed again when one of its chunks is done
                continue
            piece = self._queue.popleft()
            self.queued -= piece.chunk.requests
            assignments.append(self._give(engine, piece))
        return assignments

    def steals(self) -> list[Steal]:
        """Requests to take from busy actors for idle ones once the queue is empty; at most one pending per busy actor.

        Visits all actors, so it should not be called in every round.
        """
        if self._queue or self._rechecks:
            return []
        pending = sum(engine.steal_pending for engine in self.engines.values())  # each will feed one idle actor
        able = [engine for n, engine in self.engines.items() if engine.ready and n != self._quarantine.actor]
        idle = sorted((e for e in able if e.outstanding < e.capacity), key=lambda engine: engine.load)
        if len(idle) <= pending:
            return []
        busy = []
        for number, engine in self.engines.items():
            spare = [(engine.not_started(a), a) for a in engine.running.values() if not a.quarantined]
            if spare and not engine.steal_pending and number != self._quarantine.actor:
                most, assignment = max(spare, key=lambda pair: (pair[0], pair[1].id))
                if most:
                    busy.append((most, engine, assignment))
        busy.sort(key=lambda found: found[0], reverse=True)
        steals = []
        for thief, (most, engine, assignment) in zip(idle[pending:], busy, strict=False):
            if thief is engine:
                continue
            # Levels the two loads. With more, the two could steal the same requests from each other forever.
            level = engine.outstanding * thief.capacity - thief.outstanding * engine.capacity
            share = level // (engine.capacity + thief.capacity)
            if share < len(assignment.chunk.missing):  # an image is taken with all its questions
                continue
            engine.steal_pending = True
            steals.append(Steal(assignment=assignment, requests=min(most, share)))
        return steals

    def surplus(self) -> list[EngineState]:
        """Engines without work that will get none: all requests are in other engines.

        What comes back after a crash fits into those and their replacements. In quarantine, a crash is likely:
        one idle engine is kept for it. Visits all actors, so it should not be called in every round.
        """
        quarantine_runs = self._quarantine_running()
        if not self._all_listed or self._queue or self._rechecks or (self._quarantine.waiting and not quarantine_runs):
            return []
        engines = self.engines.values()
        if any(e.steal_pending or e.has_not_started or (e.phase == "retiring" and e.running) for e in engines):
            return []  # this work moves to other engines
        idle = [engine for engine in engines if engine.phase != "retiring" and not engine.running]
        idle.sort(key=lambda engine: not engine.ready)
        return idle[quarantine_runs:]

    def completed(self) -> list[ShardListing]:
        """Shards completed since the last call, in order of completion."""
        complete, self._complete = self._complete, []
        return complete

    def poison(self) -> list[Chunk]:
        """Images found to be poison since the last call. `poison_stored` has to follow for each."""
        return self._quarantine.poison()

    def to_recheck(self) -> list[Assignment]:
        """Assignments that wait for `rechecked`."""
        return [assignment for assignment, _ in self._rechecks.values()]

    @property
    def waiting(self) -> bool:
        """Whether any work has no actor."""
        return bool(self._queue or self._quarantine.waiting or self._rechecks)

    @property
    def finished(self) -> bool:
        return self._all_listed and not self._shards

    @property
    def in_quarantine(self) -> int:
        """Images that wait in quarantine or are retried there."""
        running = [a.chunk for engine in self.engines.values() for a in engine.running.values() if a.quarantined]
        return sum(len(chunk.rows()) for chunk in (*running, *(piece.chunk for piece in self._quarantine.waiting)))

    def wants_shards(self, horizon: int) -> bool:
        """Whether more shards should be listed because fewer than `horizon` requests wait."""
        return not self._all_listed and self.queued < horizon

    # state

    def _push(self, piece: Piece, *, first: bool = False) -> None:
        self.queued += piece.chunk.requests
        if first:
            self._queue.appendleft(piece)
        else:
            self._queue.append(piece)

    def _give(self, engine: EngineState, piece: Piece, *, quarantined: bool = False) -> Assignment:
        assignment = Assignment(
            id=next(self._ids),
            actor=engine.number,
            chunk=piece.chunk,
            attempt=piece.attempt,
            crashes=piece.crashes,
            quarantined=quarantined,
            solo_crashes=piece.solo_crashes,
        )
        requests = piece.chunk.requests
        engine.running[assignment.id] = assignment
        engine.open[assignment.id] = requests, requests
        engine.outstanding += requests
        self._offer(engine)
        return assignment

    def _assign_quarantined(self, assignments: list[Assignment]) -> None:
        """Assign quarantined work, one piece at a time, to one actor that gets no other work meanwhile.

        A single actor takes it after all other work, because it may crash its engine.
        """
        if not self._quarantine.waiting:
            if self._quarantine.actor is not None and not self._quarantine_running():
                free, self._quarantine.actor = self._quarantine.actor, None
                self._offer(self.engines[free])
            return
        able = [engine for engine in self.engines.values() if engine.ready]
        if self._quarantine.actor is None and able:
            engine = min(able, key=lambda engine: (engine.outstanding, engine.number))
            if len(able) > 1 or not (self._queue or self._rechecks or engine.running):
                self._quarantine.actor = engine.number
        if self._quarantine.actor is not None and not self.engines[self._quarantine.actor].running:
            engine = self.engines[self._quarantine.actor]
            assignments.append(self._give(engine, self._quarantine.waiting.popleft(), quarantined=True))

    def _quarantine_running(self) -> bool:
        actor = self._quarantine.actor
        return actor is not None and any(a.quarantined for a in self.engines[actor].running.values())

    def _take(self, assignment: Assignment) -> Assignment | None:
        engine = self.engines.get(assignment.actor)
        if engine is None or assignment.id not in engine.running:
            return None
        current = engine.running.pop(assignment.id)
        engine.open.pop(assignment.id, None)
        engine.recount()
        self._offer(engine)
        return current

    def _offer(self, engine: EngineState) -> None:
        """Push an engine with its current load; its older entries in the heap become invalid."""
        engine.stamp += 1
        heapq.heappush(self._heap, (engine.load, engine.number, engine.stamp))
        if len(self._heap) > 64 + 8 * len(self.engines):
            self._heap = [(e.load, n, e.stamp) for n, e in self.engines.items() if e.ready]
            heapq.heapify(self._heap)

    def _piece_done(self, chunk: Chunk) -> None:
        self._shards[chunk.shard.id].open -= 1
        self._close_if_done(chunk.shard.id)

    def _close_if_done(self, shard: str) -> None:
        if not self._shards[shard].open:
            self._complete.append(self._shards.pop(shard).listing)
