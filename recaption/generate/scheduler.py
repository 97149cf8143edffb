"""Who asks what next: a pure state machine. Events go in, assignments come out; Ray is only its transport.

    listed(shard's chunks) ──► queue ──► assign() ──► running on an actor ──► done()
                                 ▲                     │            │
                                 │                  lost()       gave_back()
                                 │                     ▼            │
                                 └── narrowed() ◄── suspects        │
                                 └──────────────────────────────────┘
    two strikes ──► quarantine: small groups on one actor ──► alone ──► poison()

It sees about a hundred bytes per chunk, never an image. Its cost per chunk does not grow with the number of actors.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from recaption.generate.chunks import Chunk, ShardListing

AHEAD = 3
"""Requests kept at an actor, in units of its capacity: one lot in the engine, two ready behind it."""

MAX_CHUNKS = 64, 900
"""Chunks at one actor: after a resume they may have an image each, and every one costs memory and a call that stays
open. Twice the capacity, but no fewer and no more than these (of Ray's actor, whose max_concurrency is 1000)."""

STRIKES = 2  # deaths of engines that an image may have been at before it is asked in quarantine
GROUP = 16  # images asked together in quarantine; a group that kills its engine is asked one by one
ALONE = 2  # fresh engines that an image must have killed alone to be poison


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """A chunk, or what is left of one, for an actor. `attempt` counts how often its shard could not be read before."""

    id: int
    actor: int
    chunk: Chunk
    attempt: int = 0
    strikes: int = 0
    quarantined: bool = False
    kills: int = 0  # engines that it killed when it was a single image in quarantine
    reported: bool = False  # its actor has reported what it stored of it


@dataclass(frozen=True, kw_only=True, slots=True)
class Steal:
    """Ask `assignment`'s actor to give back up to `requests` that it has not begun."""

    assignment: Assignment
    requests: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Piece:
    """What waits: an assignment without an actor."""

    chunk: Chunk
    attempt: int = 0
    strikes: int = 0
    kills: int = 0


@dataclass(kw_only=True, slots=True)
class _Actor:
    capacity: int
    running: dict[int, Assignment] = field(default_factory=dict)
    open: dict[int, tuple[int, int]] = field(default_factory=dict)  # running -> unsettled, of them not begun, so far
    outstanding: int = 0  # requests, as far as is known
    retiring: bool = False
    asked_back: bool = False  # a steal is under way
    stamp: int = 0  # entries of the heap with another one are out of date

    def count(self) -> None:
        self.outstanding = sum(counts[0] for counts in self.open.values())

    @property
    def most_chunks(self) -> int:
        return min(max(MAX_CHUNKS[0], 2 * self.capacity), MAX_CHUNKS[1])

    def not_begun(self, assignment: Assignment) -> int:
        return self.open[assignment.id][1]


@dataclass(kw_only=True, slots=True)
class _Shard:
    listing: ShardListing
    open: int  # pieces not done


class Scheduler:
    """State of one model's pass over the source."""

    def __init__(self) -> None:
        self._queue: deque[_Piece] = deque()
        self._quarantine: deque[_Piece] = deque()
        self._poisoned: list[Chunk] = []
        self._narrowing: dict[int, tuple[Assignment, bool]] = {}
        self._actors: dict[int, _Actor] = {}
        self._ward: int | None = None  # the actor that takes what is in quarantine
        self._heap: list[tuple[float, int, int]] = []
        self._shards: dict[str, _Shard] = {}
        self._complete: list[ShardListing] = []
        self._all_listed = False
        self._ids = itertools.count()
        self.queued = 0
        """Requests that wait for an actor; quarantine left out."""

    # events

    def listed(self, listing: ShardListing) -> None:
        """A shard was indexed; its missing chunks join the queue."""
        self._shards[listing.shard.id] = _Shard(listing=listing, open=len(listing.chunks))
        for chunk in listing.chunks:
            self._push(_Piece(chunk=chunk))
        self._close_if_done(listing.shard.id)

    def all_listed(self) -> None:
        """No further shard will be listed."""
        self._all_listed = True

    def actor_ready(self, actor: int, capacity: int) -> None:
        """An engine has started and wants `capacity` requests in flight."""
        assert capacity > 0
        self._actors[actor] = _Actor(capacity=capacity)
        self._offer(actor)

    def polled(self, actor: int, open: Mapping[int, tuple[int, int]]) -> None:
        """How far an actor is: assignment -> requests not settled, and of them those that it has not begun."""
        state = self._actors.get(actor)
        if state is not None:
            state.open.update((n, counts) for n, counts in open.items() if n in state.running)
            state.count()
            self._offer(actor)

    def done(self, assignment: Assignment, covered: Chunk) -> None:
        """The actor has answered or rejected `covered`, and put it: all of the assignment but what it gave back."""
        current = self._take(assignment)
        if current is None:
            return
        given_back = current.chunk.minus(covered)
        if given_back.requests:  # the reply that says so is still on its way, and will find the assignment gone
            self._shards[covered.shard.id].open += 1
            self._push(_Piece(chunk=given_back, attempt=current.attempt, strikes=current.strikes), first=True)
        self._settled(covered)

    def reported(self, assignment: Assignment) -> bool:
        """The actor has reported what it stored. False where the actor is removed: then the store has to be read."""
        actor = self._actors.get(assignment.actor)
        current = actor.running.get(assignment.id) if actor else None
        if actor is None or current is None:
            return False
        actor.running[assignment.id] = replace(current, reported=True)
        return True

    def failed(self, assignment: Assignment) -> None:
        """The actor is well, but could not read all of it: what is missing goes to the end of the queue (narrowed)."""
        current = self._take(assignment)
        if current is not None:
            self._narrowing[current.id] = replace(current, attempt=current.attempt + 1), False

    def returned(self, assignment: Assignment) -> None:
        """The actor gave it up, in order (it was drained): it goes back to the queue (narrowed), no strike."""
        current = self._take(assignment)
        if current is not None:
            self._narrowing[current.id] = current, False

    def retire(self, actor: int) -> None:
        """Give an actor nothing more."""
        if actor in self._actors:
            self._actors[actor].retiring = True
            if self._ward == actor:
                self._ward = None

    def lost(self, actor: int, suspects: Mapping[int, Collection[int]] | None = None) -> list[Assignment]:
        """An actor is gone. `suspects`: assignment -> rows that were in its engine when it died, if it could tell.

        Returns what it was working on; each has to come back through `narrowed`. Where the actor could not tell, all
        that is unanswered of the assignments it had begun is suspect, and of the first one in any case.
        """
        gone = self._actors.pop(actor, None)
        if self._ward == actor:
            self._ward = None
        if gone is None:
            return []
        returned = []
        for position, assignment in enumerate(gone.running.values()):
            if suspects is not None and not assignment.quarantined:
                rows = suspects.get(assignment.id, ())
                struck = assignment.chunk.only(rows)
                rest = assignment.chunk.without(rows)
                parts = [(part, hit) for part, hit in ((struck, True), (rest, False)) if part.requests]
                parts = parts or [(rest, False)]  # all of it was given back: narrowing it closes its account
                self._shards[assignment.chunk.shard.id].open += len(parts) - 1
            else:
                begun = gone.not_begun(assignment) < assignment.chunk.requests
                parts = [(assignment.chunk, position == 0 or begun or assignment.quarantined)]
            for chunk, hit in parts:
                piece = replace(assignment, id=next(self._ids), chunk=chunk)
                self._narrowing[piece.id] = piece, hit
                returned.append(piece)
        return returned

    def narrowed(self, assignment: Assignment, chunk: Chunk) -> None:
        """What was looked up in the store: `chunk` is what is still missing of `assignment`."""
        assignment, struck = self._narrowing.pop(assignment.id)
        if not chunk.requests:
            self._settled(chunk)
            return
        strikes = assignment.strikes + struck
        piece = _Piece(chunk=chunk, attempt=assignment.attempt, strikes=strikes, kills=assignment.kills)
        if assignment.quarantined and struck:
            self._judge(piece, single=len(assignment.chunk.rows()) == 1)
        elif strikes >= STRIKES:
            self._regroup(piece, GROUP)
        elif assignment.attempt and not struck:
            self._push(piece)  # what could not be read gets some time
        else:
            self._push(piece, first=True)

    def gave_back(self, assignment: Assignment, chunk: Chunk | None) -> None:
        """The actor gave back `chunk`, a part of what it had not begun (None: nothing)."""
        actor = self._actors.get(assignment.actor)
        if actor is not None:
            actor.asked_back = False
        if chunk is None or not chunk.requests:
            return
        current = actor.running.get(assignment.id) if actor else None
        if actor is None or current is None:
            return  # lost meanwhile: all of it is on its way back
        actor.running[assignment.id] = replace(current, chunk=current.chunk.minus(chunk))
        unsettled, not_begun = actor.open[assignment.id]
        left = max(0, unsettled - chunk.requests), max(0, not_begun - chunk.requests)
        actor.open[assignment.id] = left
        actor.count()
        self._offer(assignment.actor)
        self._shards[chunk.shard.id].open += 1
        self._push(_Piece(chunk=chunk, attempt=current.attempt, strikes=current.strikes), first=True)

    # questions

    def assign(self) -> list[Assignment]:
        """Chunks to hand out now: every actor is filled up to AHEAD times its capacity, the emptiest first."""
        assignments: list[Assignment] = []
        self._attend(assignments)
        while self._queue and self._heap:
            load, number, stamp = self._heap[0]
            actor = self._actors.get(number)
            if actor is None or actor.stamp != stamp or actor.retiring or number == self._ward:
                heapq.heappop(self._heap)
                continue
            if load >= AHEAD or len(actor.running) >= actor.most_chunks:
                if load >= AHEAD:
                    break
                heapq.heappop(self._heap)  # offered again when one of its chunks is done
                continue
            piece = self._queue.popleft()
            self.queued -= piece.chunk.requests
            assignments.append(self._give(number, piece))
        return assignments

    def steals(self) -> list[Steal]:
        """What to ask back from busy actors for those that run dry, once nothing waits; one at a time from each.

        Looks at every actor: to be called now and then.
        """
        if self._queue or self._narrowing:
            return []
        # What is on its way already will feed that many.
        under_way = sum(actor.asked_back for actor in self._actors.values())
        able = [a for n, a in self._actors.items() if not a.retiring and n != self._ward]
        hungry = sorted((a for a in able if a.outstanding < a.capacity), key=lambda a: a.outstanding / a.capacity)
        if len(hungry) <= under_way:
            return []
        rich = []
        for number, actor in self._actors.items():
            spare = [(actor.not_begun(a), a) for a in actor.running.values() if not a.quarantined]
            if spare and not actor.asked_back and number != self._ward:
                most, assignment = max(spare, key=lambda pair: (pair[0], pair[1].id))
                if most:
                    rich.append((most, actor, assignment))
        rich.sort(key=lambda found: found[0], reverse=True)
        steals = []
        for thief, (most, actor, assignment) in zip(hungry[under_way:], rich, strict=False):
            if thief is actor:
                continue
            # What levels the two: with more, it would be asked back in turn, for ever while nobody has begun it.
            level = actor.outstanding * thief.capacity - thief.outstanding * actor.capacity
            share = level // (actor.capacity + thief.capacity)
            if share < len(assignment.chunk.missing):  # an image comes with all of its questions
                continue
            actor.asked_back = True
            steals.append(Steal(assignment=assignment, requests=min(most, share)))
        return steals

    def completed(self) -> list[ShardListing]:
        """Shards that became complete since the last call, in order of completion."""
        complete, self._complete = self._complete, []
        return complete

    def poison(self) -> list[Chunk]:
        """Images that were found to be poison since the last call; their rejects put, they are `settled`."""
        found, self._poisoned = self._poisoned, []
        return found

    def settled(self, chunk: Chunk) -> None:
        """The rejects of a poisonous image are put."""
        self._settled(chunk)

    def narrowing(self) -> list[Assignment]:
        """Assignments that wait for `narrowed`."""
        return [assignment for assignment, _ in self._narrowing.values()]

    @property
    def waiting(self) -> bool:
        """Whether there is work that no actor has yet."""
        return bool(self._queue or self._quarantine or self._narrowing)

    @property
    def finished(self) -> bool:
        return self._all_listed and not self._shards

    @property
    def in_quarantine(self) -> int:
        """Images that wait in quarantine or are asked there."""
        asked = [a.chunk for actor in self._actors.values() for a in actor.running.values() if a.quarantined]
        return sum(len(chunk.rows()) for chunk in (*asked, *(piece.chunk for piece in self._quarantine)))

    def wants_shards(self, horizon: int) -> bool:
        """Whether fewer than `horizon` requests wait, so that more shards should be listed."""
        return not self._all_listed and self.queued < horizon

    # state

    def _push(self, piece: _Piece, *, first: bool = False) -> None:
        self.queued += piece.chunk.requests
        if first:
            self._queue.appendleft(piece)
        else:
            self._queue.append(piece)

    def _give(self, number: int, piece: _Piece, *, quarantined: bool = False) -> Assignment:
        assignment = Assignment(
            id=next(self._ids),
            actor=number,
            chunk=piece.chunk,
            attempt=piece.attempt,
            strikes=piece.strikes,
            quarantined=quarantined,
            kills=piece.kills,
        )
        actor = self._actors[number]
        requests = piece.chunk.requests
        actor.running[assignment.id] = assignment
        actor.open[assignment.id] = requests, requests
        actor.outstanding += requests
        self._offer(number)
        return assignment

    def _attend(self, assignments: list[Assignment]) -> None:
        """Hand out what is in quarantine: to one actor that gets nothing else, a piece at a time.

        With a single actor it waits until everything else is done: what may kill it comes last.
        """
        if not self._quarantine:
            if self._ward is not None and not self._at_ward():
                ward, self._ward = self._ward, None
                self._offer(ward)
            return
        able = [number for number, actor in self._actors.items() if not actor.retiring]
        if self._ward is None and able:
            number = min(able, key=lambda n: (self._actors[n].outstanding, n))
            if len(able) > 1 or not (self._queue or self._narrowing or self._actors[number].running):
                self._ward = number
        if self._ward is not None and not self._actors[self._ward].running:
            assignments.append(self._give(self._ward, self._quarantine.popleft(), quarantined=True))

    def _at_ward(self) -> bool:
        """Whether something is asked in quarantine now: it is alone there until it is done."""
        return self._ward is not None and any(a.quarantined for a in self._actors[self._ward].running.values())

    def _judge(self, piece: _Piece, *, single: bool) -> None:
        """A piece killed its engine in quarantine, where it was alone."""
        if not single:
            self._regroup(piece, 1)
        elif piece.kills + 1 < ALONE:
            self._quarantine.appendleft(replace(piece, kills=piece.kills + 1))
        else:
            self._poisoned.append(piece.chunk)

    def _regroup(self, piece: _Piece, size: int) -> None:
        rows = piece.chunk.rows()
        groups = [rows[at : at + size] for at in range(0, len(rows), size)]
        self._shards[piece.chunk.shard.id].open += len(groups) - 1
        # A group that killed again comes next; what is new waits its turn.
        pieces = [replace(piece, chunk=piece.chunk.only(group)) for group in groups]
        if size == 1:
            self._quarantine.extendleft(reversed(pieces))
        else:
            self._quarantine.extend(pieces)

    def _take(self, assignment: Assignment) -> Assignment | None:
        actor = self._actors.get(assignment.actor)
        if actor is None or assignment.id not in actor.running:
            return None
        current = actor.running.pop(assignment.id)
        actor.open.pop(assignment.id, None)
        actor.count()
        self._offer(assignment.actor)
        return current

    def _offer(self, number: int) -> None:
        """Put an actor into the heap with what it has now; older entries of it count no more."""
        actor = self._actors[number]
        actor.stamp += 1
        heapq.heappush(self._heap, (actor.outstanding / actor.capacity, number, actor.stamp))
        if len(self._heap) > 64 + 8 * len(self._actors):
            self._heap = [(a.outstanding / a.capacity, n, a.stamp) for n, a in self._actors.items()]
            heapq.heapify(self._heap)

    def _settled(self, chunk: Chunk) -> None:
        self._shards[chunk.shard.id].open -= 1
        self._close_if_done(chunk.shard.id)

    def _close_if_done(self, shard: str) -> None:
        if not self._shards[shard].open:
            self._complete.append(self._shards.pop(shard).listing)
