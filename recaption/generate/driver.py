"""One model's pass over the source: the driver hands out chunk names, actors read, ask and put.

Data never travels through it; it sees about a hundred bytes a chunk. All decisions are the scheduler's; here they are
carried to the cluster (`transport`), and what comes back is carried to the scheduler.
"""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from recaption.engine import check_reachable
from recaption.errors import ClusterLost, DatasetError, EngineDead, Interrupted, ShardError, UserError
from recaption.generate.actor import Ended, Poll
from recaption.generate.breaker import CircuitBreaker
from recaption.generate.chunks import CHUNK_SIZE, Chunk, ShardListing
from recaption.generate.counters import Counters
from recaption.generate.events import PassTeller, Tell, tell_nobody
from recaption.generate.fleet import Fleet
from recaption.generate.meter import Meter
from recaption.generate.plan import ModelPlan
from recaption.generate.progress import Progress
from recaption.generate.scheduler import Assignment, Scheduler, Steal
from recaption.generate.shards import ShardList
from recaption.generate.tasks import Job, list_one, poison_one, recheck_one
from recaption.generate.transport import ActorLost, Outcome, RayTransport, Transport, last_words
from recaption.output.index import duplicate_keys
from recaption.types import Reject

HORIZON = 16 * CHUNK_SIZE  # requests, at least: below this more shards are listed
LIST_AHEAD = 4, 64  # shards being indexed at once: at least, at most
MAX_ATTEMPTS = 5  # of one chunk whose images cannot be read: then the run stops
DRAIN_SECONDS = 15.0  # SIGKILL follows SIGTERM after 30 s on Slurm and Kubernetes
FLUSH_SECONDS = 5.0  # given to the other chunks of a dead engine to put what they have
ROUND = 0.2  # seconds that a round waits for something to happen
_NO_ACTOR = -1  # stored without an engine: column answers, and rejects of poison
_NOTHING = Counters()

Handler = Callable[[Outcome], None]


@dataclass(kw_only=True, slots=True)
class _Death:
    """An engine that died, or is recycled, and whose actor still tells what it was at."""

    error: BaseException | None  # None: it was drained in order
    deadline: float
    suspects: dict[int, tuple[int, ...]] = field(default_factory=dict)
    images: list[tuple[str, str]] = field(default_factory=list)  # shard and key of the suspects


class Pass:
    """`run` yields each shard's listing as soon as nothing of it is missing."""

    def __init__(
        self,
        model: ModelPlan,
        job: Job,
        *,
        report: Callable[[Progress], None] = lambda progress: None,
        stopping: Callable[[], bool] = lambda: False,
        answer: bool = True,
        breaker: CircuitBreaker | None = None,
        tell: Tell = tell_nobody,
        transport: Transport | None = None,
    ) -> None:
        self._model, self._job, self._report, self._stopping, self._answer = model, job, report, stopping, answer
        self._transport: Transport = transport or RayTransport()
        self._breaker, self._tell = breaker, PassTeller(model.name, tell)
        self.scheduler = Scheduler()
        self.fleet = Fleet(model, job, self._transport)
        self._handlers: dict[int, Handler] = {}
        self._shards = ShardList(job.source.shards())
        self._listing: deque[int] = deque()  # tickets, in listing order
        self._listed: dict[int, ShardListing] = {}
        self._remaining = job.limit
        self._chunks: dict[int, Assignment] = {}  # ticket -> what runs
        self._running: Counter[int] = Counter()  # actor -> chunks
        self._narrowing: set[int] = set()
        self._deaths: dict[int, _Death] = {}
        self._verdicts: list[Chunk] = []  # poison, held back until an engine has shown that it works
        self._last_error = ""
        self._stole = float("-inf")
        self._poisoned = 0
        # Two lower bounds of what was stored for each actor: what ended assignments report, or the store where their
        # actor was lost; and the actor's last poll. Once all assignments have ended, the first one is exact.
        self._stored: defaultdict[int, Counters] = defaultdict(Counters)
        self._polled_last: dict[int, Counters] = {}
        self._lost_meter = Meter()  # of actors that are gone
        self._reachable = False  # the engine's server was looked for
        self._first_keys: dict[str, str] = {}  # key of a shard's first row -> shard
        self.progress = Progress(
            model=model.name,
            total={q.id: 0 for q in model.questions},
            resumed={q.id: 0 for q in model.questions},
            duplicates={q.id: 0 for q in model.questions},
        )

    def run(self) -> Iterator[ShardListing]:
        """Raises EngineDead when engines keep dying, Interrupted when asked to stop, CircuitOpen, StoreError, …"""
        now, at_once, lost = self._transport.now, False, False
        try:
            last_report = float("-inf")
            while not self.scheduler.finished:
                if self._stopping():
                    self._drain()
                    raise Interrupted("stopped on request; run the same command again to continue")
                self._list_shards()
                self._start_engines()
                self._hand_out()
                yield from self._completed()
                for outcome in self._transport.wait(ROUND):
                    self._handlers.pop(outcome.ticket)(outcome)
                self._bury()
                self._poll()
                if now() - last_report > self.fleet.pace(often=False):
                    last_report = now()
                    self._sum_up()
                    self._report(self.progress)
            self.progress.ended = now() if self.progress.started else None
            yield from self._completed()
            self._last_poll()
            self.progress.phase = "done"
            self._report(self.progress)
            self._check_sums()
        except Interrupted:
            raise
        except ClusterLost:
            lost = True
            raise
        except Exception:
            self._drain()  # what the other engines have is paid for
            raise
        except BaseException:  # a second SIGINT: now means now
            at_once = True
            raise
        finally:
            if not lost:  # Ray would wait for daemons that are gone
                self.fleet.stop(at_once=at_once)

    def _completed(self) -> Iterator[ShardListing]:
        for listing in self.scheduler.completed():
            self._tell.answered(listing)
            yield listing

    def _expect(self, ticket: int, handler: Handler) -> None:
        self._handlers[ticket] = handler

    # listing

    def _list_shards(self) -> None:
        horizon = max(HORIZON, 2 * self.fleet.capacity)
        ahead = min(max(LIST_AHEAD[0], len(self.fleet) // 8), LIST_AHEAD[1])
        until = time.monotonic() + ROUND
        while (
            len(self._listing) < ahead
            and self._remaining != 0
            and self.scheduler.wants_shards(horizon)
            and (shard := self._shards.take(until - time.monotonic())) is not None
        ):
            self._list(shard)
        ended = self._shards.ended or self._remaining == 0
        if ended and not self._listing and not self.progress.all_listed:
            self.scheduler.all_listed()
            self.progress.all_listed = True
        # In listing order: a limit on the number of images counts along it.
        while self._listing and self._listing[0] in self._listed:
            self._take_listing(self._listed.pop(self._listing.popleft()))

    def _list(self, shard: Any, limit: int | None = None) -> None:
        stored = self._model.engine is None
        ticket = self._transport.task(list_one, self._model.questions, self._job, shard, limit, stored)
        if limit is None:
            self._listing.append(ticket)
        else:
            self._listing.appendleft(ticket)

        def listed(outcome: Outcome) -> None:
            if ticket in self._listing:  # else it lies beyond the limit
                self._listed[ticket] = _value(outcome)

        self._expect(ticket, listed)

    def _take_listing(self, listing: ShardListing) -> None:
        if self._remaining is not None:
            if listing.images > self._remaining:
                self._list(listing.shard, self._remaining)
                return
            self._remaining -= listing.images
        if listing.chunks and not self._answer:
            missing = sum(chunk.requests for chunk in listing.chunks)
            raise UserError(
                f"{missing} answers are missing in shard {listing.shard.id}, and a build asks no model. "
                "Make them first with recaption generate, or do both with recaption run"
            )
        key, shard = listing.first_key, listing.shard.id
        # Shards that each count from the same key are told here, before a model is asked; the rest when built.
        if key is not None and (other := self._first_keys.setdefault(key, shard)) != shard:
            raise duplicate_keys(key, other, shard)
        self.scheduler.listed(listing)
        self._tell.listed(listing)
        self._tell.rejected(listing.rejected)
        self.progress.images += listing.images
        for i, question in enumerate(self._model.questions):
            self.progress.total[question.id] += listing.usable
            self.progress.resumed[question.id] += listing.done[i]
            self.progress.duplicates[question.id] += listing.duplicates[i]
        self._stored[_NO_ACTOR].add(listing.counters)
        if self._remaining == 0:
            self._listing.clear()
            self._listed.clear()

    # engines

    def _start_engines(self) -> None:
        """Engines are started only when there is something to ask."""
        if not self.scheduler.waiting:
            return
        self._check_reachable()
        for number, ticket in self.fleet.grow():
            self._expect(ticket, lambda outcome, number=number: self._engine_started(number, outcome))  # type: ignore[misc]
            if self.progress.phase == "listing":
                self.progress.phase = "starting engine"

    def _check_reachable(self) -> None:
        """Once, before the first engine starts. On a cluster the nodes may reach what this machine does not."""
        if self._reachable:
            return
        self._reachable = True
        if self._model.engine is not None and not os.environ.get("RAY_ADDRESS"):
            check_reachable(self._model.engine)

    def _engine_started(self, number: int, outcome: Outcome) -> None:
        if isinstance(outcome.error, EngineDead | ActorLost):
            self._actor_gone(number, outcome.error, None)
            return
        capacity, provenance = _value(outcome)
        self.fleet.started(number, capacity)
        self.scheduler.actor_ready(number, capacity)
        self._tell.started(number, capacity, provenance)
        self.progress.phase = "generating"
        self.progress.provenance = provenance
        self.progress.started = self.progress.started or self._transport.now()

    def _hand_out(self) -> None:
        for assignment in self.scheduler.assign():
            self._running[assignment.actor] += 1
            ticket = self._transport.call(assignment.actor, "work_on", assignment)
            self._chunks[ticket] = assignment
            self._expect(ticket, self._chunk_ended)
        for steal in self._steals():
            victim = steal.assignment
            ticket = self._transport.call(victim.actor, "give_back", victim.id, steal.requests)
            self._expect(ticket, lambda outcome, a=victim: self._gave_back(a, outcome))  # type: ignore[misc]
        for assignment in self.scheduler.narrowing():
            if assignment.id not in self._narrowing:
                self._narrowing.add(assignment.id)
                ticket = self._transport.task(recheck_one, self._model.questions, self._job, assignment.chunk)
                self._expect(ticket, lambda outcome, a=assignment: self._narrowed(a, outcome))  # type: ignore[misc]
        self._verdicts += self.scheduler.poison()
        if self.fleet.proven or not (self.scheduler.waiting or self._running.total()):
            for chunk in self._verdicts:
                self._reject_poison(chunk)
            self._verdicts.clear()

    def _steals(self) -> list[Steal]:
        now = self._transport.now()
        if now - self._stole < self.fleet.pace(often=True) / 2:
            return []
        self._stole = now
        return self.scheduler.steals()

    def _gave_back(self, victim: Assignment, outcome: Outcome) -> None:
        lost = isinstance(outcome.error, ActorLost)
        self.scheduler.gave_back(victim, None if lost else _value(outcome))

    def _narrowed(self, assignment: Assignment, outcome: Outcome) -> None:
        self._narrowing.discard(assignment.id)
        missing, stored = _value(outcome)
        if not assignment.reported:
            self._stored[assignment.actor].add(stored)
        before = self.scheduler.in_quarantine
        self.scheduler.narrowed(assignment, missing)
        if not assignment.quarantined and self.scheduler.in_quarantine > before:
            self._tell.quarantined(missing)

    def _reject_poison(self, chunk: Chunk) -> None:
        detail = f"asked alone, it killed two fresh engines. The last one said: {self._last_error}"
        number, self._poisoned = self._poisoned, self._poisoned + 1
        ticket = self._transport.task(poison_one, self._model.questions, self._job, chunk, number, detail)

        def put(outcome: Outcome) -> None:
            rejects: list[Reject] = _value(outcome)
            for each in rejects:
                self._stored[_NO_ACTOR].count((each,), str(each.generation))
            self._tell.rejected(rejects)
            self.scheduler.settled(chunk)

        self._expect(ticket, put)

    def _chunk_ended(self, outcome: Outcome) -> None:
        assignment = self._chunks.pop(outcome.ticket)
        error = self._reported(assignment, outcome)
        if assignment.actor in self._running:  # else it is gone already
            self._running[assignment.actor] -= 1
        if error is None:
            if outcome.value.chunk.requests:  # not all of it was given back
                self.fleet.useful(assignment.actor)
            self.scheduler.done(assignment, outcome.value.chunk)
        elif isinstance(error, ActorLost):
            self._actor_gone(assignment.actor, error, None)
        elif isinstance(error, EngineDead):
            self.scheduler.retire(assignment.actor)
            deadline = self._transport.now() + FLUSH_SECONDS
            death = self._deaths.setdefault(assignment.actor, _Death(error=error, deadline=deadline))
            if error.rows is not None:
                death.suspects[assignment.id] = error.rows
                death.images += [(assignment.chunk.shard.id, key) for key in error.keys]
        elif isinstance(error, ShardError) and assignment.attempt + 1 < MAX_ATTEMPTS:
            self.scheduler.failed(assignment)
            self._tell.failed(assignment, error)
        elif isinstance(error, Interrupted):
            self.scheduler.returned(assignment)
        else:
            raise error

    def _bury(self) -> None:
        """Take leave of engines that died, once all their chunks have told what they were at."""
        for number, death in list(self._deaths.items()):
            if not self._running[number] or self._transport.now() > death.deadline:
                del self._deaths[number]
                if death.error is not None:
                    self._actor_gone(number, death.error, death.suspects, death.images)
                elif (poll := self.fleet.remove(number)) is not None:
                    self._forget(number, poll)
                    self.scheduler.lost(number, {})
                    self._tell.recycled(number)
        for number in self.fleet.silent():
            hung = EngineDead(f"the engine's process has not answered for {self._model.config.hang_seconds:g} s")
            self._actor_gone(number, hung, None)

    def _actor_gone(
        self,
        number: int,
        error: BaseException,
        suspects: dict[int, tuple[int, ...]] | None,
        images: Sequence[tuple[str, str]] = (),
    ) -> None:
        useful = self.fleet.was_useful(number)
        poll = self.fleet.remove(number)
        if poll is None:
            return  # seen already, through another of its chunks
        self._deaths.pop(number, None)
        self._forget(number, poll)
        del self._running[number]
        returned = self.scheduler.lost(number, suspects)
        self.progress.deaths += 1
        self._last_error = last_words(error)
        self._tell.died(number, self._last_error, images)
        self.fleet.died(useful=useful, quarantined=any(a.quarantined for a in returned), said=self._last_error)

    def _forget(self, number: int, poll: Poll) -> None:
        self._polled_last[number] = poll.counters
        self._lost_meter.add(poll.meter)

    # how far they are

    def _poll(self) -> None:
        """Ask the actors how far they are, without waiting for them."""
        for number, ticket in self.fleet.poll(often=not self.scheduler.waiting):
            self._expect(ticket, lambda outcome, number=number: self._polled(number, outcome))  # type: ignore[misc]

    def _polled(self, number: int, outcome: Outcome) -> None:
        if outcome.error is not None:
            if not isinstance(outcome.error, ActorLost):
                raise outcome.error
            self._actor_gone(number, outcome.error, None)
            return
        self.fleet.polled(number, outcome.value)
        self._tell.polled(outcome.value)
        self.scheduler.polled(number, outcome.value.open)
        if outcome.value.bloated and self.fleet.recycle(number):
            self.scheduler.retire(number)
            ticket = self._transport.call(number, "drain", self._model.config.hang_seconds)
            self._expect(ticket, lambda outcome: self._recycled(number, outcome))

    def _recycled(self, number: int, outcome: Outcome) -> None:
        """A replica that took too much memory has put what it had: another takes its place."""
        if outcome.error is not None and not isinstance(outcome.error, ActorLost | EngineDead):
            raise outcome.error
        deadline = self._transport.now() + FLUSH_SECONDS
        self._deaths.setdefault(number, _Death(error=outcome.error, deadline=deadline))

    def _sum_up(self) -> None:
        p = self.progress
        p.counters, p.meter = Counters(), Meter()
        p.meter.add(self._lost_meter)
        polls = self.fleet.polls()
        for poll in polls.values():
            p.meter.add(poll.meter)
        told = self._polled_last | {number: poll.counters for number, poll in polls.items()}
        for number in {**self._stored, **told}:
            p.counters.add(self._stored[number].at_least(told.get(number, _NOTHING)))
        p.in_flight = sum(poll.in_flight for poll in polls.values())
        p.renderers = sum(poll.renderers for poll in polls.values())
        p.engines, p.quarantined = self.fleet.ready, self.scheduler.in_quarantine
        if self._breaker is not None:
            reasons: Counter[str] = Counter()
            for (_, reason), count in p.counters.rejects.items():
                reasons[reason] += count
            self._breaker.observe(p.counters.settled, p.counters.degenerate.total(), reasons)

    def _reported(self, assignment: Assignment, outcome: Outcome) -> BaseException | None:
        """Count what an ended assignment stored. Returns the error that it ended with."""
        if not isinstance(outcome.value, Ended):
            return outcome.error
        if self.scheduler.reported(assignment):
            self._stored[assignment.actor].add(outcome.value.counters)
        return outcome.value.error

    def _last_poll(self) -> None:
        tickets = {self._transport.call(number, "poll"): number for number in self.fleet.numbers()}
        deadline = self._transport.now() + 5
        while tickets and self._transport.now() < deadline:
            for outcome in self._transport.wait(ROUND):
                number = tickets.pop(outcome.ticket, None)
                self._tell.polled(outcome.value)
                if number is not None and outcome.error is None:
                    self.fleet.polled(number, outcome.value)
        self._sum_up()

    def _check_sums(self) -> None:
        """Every image that was to be asked about is answered or rejected."""
        for generation in self.progress.state().generations:
            if generation.done != generation.total:
                raise DatasetError(f"the sum of the run does not hold: {generation.words}")

    # the end

    def _drain(self) -> None:
        """Let every engine finish what it has, at most for DRAIN_SECONDS, and put it."""
        tickets = {self._transport.call(number, "drain", DRAIN_SECONDS) for number in self.fleet.numbers()}
        tickets |= self._chunks.keys()
        deadline = self._transport.now() + DRAIN_SECONDS + FLUSH_SECONDS
        while tickets and self._transport.now() < deadline:
            for outcome in self._transport.wait(ROUND):
                tickets.discard(outcome.ticket)
                if (assignment := self._chunks.pop(outcome.ticket, None)) is not None:
                    self._reported(assignment, outcome)
                self._tell.polled(outcome.value)
        self._last_poll()
        self._report(self.progress)


def _value(outcome: Outcome) -> Any:
    if outcome.error is not None:
        raise outcome.error
    return outcome.value
