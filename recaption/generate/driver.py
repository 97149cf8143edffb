"""One model's pass over the source: the driver assigns chunks to actors, which read, request and store.

No image passes through the driver; it holds about a hundred bytes per chunk. The scheduler decides, the driver carries
its decisions to the cluster (`transport`) and the replies back to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from recaption.errors import ClusterLost, DatasetError, EngineDead, Interrupted, ShardError, UserError
from recaption.generate.actor import Ended, Poll
from recaption.generate.breaker import CircuitBreaker
from recaption.generate.chunks import CHUNK_SIZE, Chunk, Job, ShardListing, recheck, reject_poison
from recaption.generate.engine_state import Assignment, EngineState
from recaption.generate.events import Emit, PassEvents, ignore_event
from recaption.generate.fleet import Fleet
from recaption.generate.listing import ShardIndexer
from recaption.generate.plan import ModelPlan
from recaption.generate.progress import PassProgress
from recaption.generate.ray_tasks import ActorLost, last_line
from recaption.generate.scheduler import Scheduler
from recaption.generate.totals import Totals
from recaption.generate.transport import RayTransport, Reply, Transport

HORIZON = 16 * CHUNK_SIZE  # more shards are listed while fewer requests than this wait; more with many engines
LIST_AHEAD = 4, 256  # shards that are indexed at once: at least, at most
LIST_PER_NODE = 16  # of these, at most on one node; on smaller nodes, one per four cores
NODES_SECONDS = 10.0  # between two checks of the cluster's nodes
MAX_ATTEMPTS = 5  # to read the images of one chunk: then the run stops
DRAIN_SECONDS = 15.0  # Slurm and Kubernetes send SIGKILL 30 s after SIGTERM
FLUSH_SECONDS = 5.0  # in which the other chunks of a failed engine store their answers
ROUND_SECONDS = 0.2  # that a round waits for replies

Handler = Callable[[Reply], None]


def list_ahead(cpus: Sequence[int]) -> int:
    """How many shards to index at once on nodes with these cores.

    Indexing a shard of a complete output is some twenty requests to the store, one after the other, so it waits most of
    the time; indexing a new shard reads it whole.
    """
    return min(max(LIST_AHEAD[0], sum(min(LIST_PER_NODE, cores // 4) for cores in cpus)), LIST_AHEAD[1])


def _ignore(_: object) -> None:
    pass


@dataclass(frozen=True, kw_only=True, slots=True)
class Callbacks:
    """What a pass calls, all in its own thread.

    report: with its progress, regularly and at the end.
    emit: for each event.
    stopping: whether to store what is finished and end with Interrupted.
    may_start: before engines are started; raises an error to prevent it.
    released: when engines are released before the end, with the number of engines that are still wanted.
    """

    report: Callable[[PassProgress], object] = _ignore
    emit: Emit = ignore_event
    stopping: Callable[[], bool] = lambda: False
    may_start: Callable[[], object] = lambda: None
    released: Callable[[int], object] = _ignore


class ModelPass:
    """`run` yields each shard's listing as soon as all its answers and rejects are stored."""

    def __init__(
        self,
        model: ModelPlan,
        job: Job,
        *,
        callbacks: Callbacks | None = None,
        answer: bool = True,
        breaker: CircuitBreaker | None = None,
        transport: Transport | None = None,
        expects_gpus: bool = False,
    ) -> None:
        """With `answer` False, `run` raises UserError if any answer is missing. `expects_gpus`: see Fleet."""
        self._model, self._job, self._callbacks, self._answer = model, job, callbacks or Callbacks(), answer
        self._transport: Transport = transport or RayTransport()
        self._breaker, self._totals = breaker, Totals(model)
        self._events = PassEvents(model.title, self._callbacks.emit)
        self.scheduler = Scheduler()
        self._engines = self.scheduler.engines
        self.fleet = Fleet(model, job, self._transport, self._engines, expects_gpus=expects_gpus)
        self._indexer = ShardIndexer(model, job, self._transport, self._expect)
        self._handlers: dict[int, Handler] = {}
        self._chunks: dict[int, Assignment] = {}  # ticket -> assignment in work
        self._rechecking: set[int] = set()
        self._poison: list[Chunk] = []  # not stored until an engine has proved to work
        self._poison_stored = 0
        self._last_error = ""
        self._levelled = self._nodes_read = float("-inf")
        self._ahead = LIST_AHEAD[0]
        self._waits, self._gpu_wait = False, 0.0  # whether and for how many seconds no node has had an engine's GPUs
        self._phase, self._all_listed, self._deaths = "listing", False, 0
        self._provenance: dict[str, str] = {}
        self._began, self._listed = self._transport.now(), 0.0  # when the pass began, and when all shards were listed
        self._started: float | None = None  # when the first engine was ready
        self._ended: float | None = None  # when the last answer was stored
        self._engine_seconds = 0.0  # of all engines, starting ones too

    def run(self) -> Iterator[ShardListing]:
        """Raises EngineDead if engines keep failing, Interrupted on request, CircuitOpen, StoreError, …"""
        now, at_once, lost = self._transport.now, False, False
        try:
            last_report, last_round = float("-inf"), now()
            while not self.scheduler.finished:
                if self._callbacks.stopping():
                    self._drain()
                    raise Interrupted("stopped on request; run the same command again to continue")
                self._list_shards()
                self._start_engines()
                self._assign()
                self._level()
                self._recheck()
                self._reject_poison()
                yield from self._completed()
                for reply in self._transport.wait(ROUND_SECONDS):
                    self._handlers.pop(reply.ticket)(reply)
                self._engine_seconds += (now() - last_round) * self.fleet.running
                last_round = now()
                self._reap()
                self._poll()
                if now() - last_report > self.fleet.period(often=False):
                    last_report = now()
                    self._report_progress()
            self._ended = None if self._started is None else now()
            yield from self._completed()
            self._last_poll()
            self._phase = "done"
            self._report_progress()
            self._check_sums()
        except Interrupted:
            raise
        except ClusterLost:
            lost = True
            raise
        except Exception:
            self._drain()  # the answers of the other engines are paid for
            raise
        except BaseException:  # a second SIGINT: stop at once
            at_once = True
            raise
        finally:
            if not lost:  # Ray would wait for daemons that have ended
                self.fleet.stop(at_once=at_once)

    @property
    def progress(self) -> PassProgress:
        """A snapshot of the pass. `seconds` run until the last answer was stored."""
        engines = list(self._engines.values())
        polls = [engine.poll for engine in engines if engine.poll is not None]
        started = sum(engine.phase != "starting" for engine in engines)
        until = self._transport.now() if self._ended is None else self._ended
        return PassProgress(
            model=self._model.title,
            phase=self._phase,
            all_listed=self._all_listed,
            shards=self._totals.shards,
            listing_seconds=round((self._listed or self._transport.now()) - self._began, 3),
            images=self._totals.rows,
            seconds=0.0 if self._started is None else round(until - self._started, 3),
            in_flight=sum(poll.in_flight for poll in polls),
            engines=started,
            engines_released=self.fleet.released,
            renderers=sum(poll.renderers for poll in polls),
            engine_deaths=self._deaths,
            gpu_wait_seconds=round(self.fleet.gpu_wait_seconds, 1),
            gpu_seconds=round(self._engine_seconds * self._model.config.tensor_parallel, 3),
            quarantined=self.scheduler.in_quarantine,
            generations=self._totals.generations(self._totals.counters(engines)),
            engine=self._provenance,
            meter=self._totals.meter(engines).report(max(1, started + self.fleet.released)),
            fleet=tuple(engine.progress(engine.poll) for engine in engines if engine.poll is not None),
            latency=self._totals.latency(engines),
        )

    def _expect(self, ticket: int, handler: Handler) -> None:
        self._handlers[ticket] = handler

    # shards

    def _list_shards(self) -> None:
        horizon = max(HORIZON, 2 * self.fleet.capacity)
        now = self._transport.now()
        if now - self._nodes_read >= NODES_SECONDS and not self._all_listed:
            self._nodes_read = now
            if self._job.limit is None:  # a pilot needs few shards
                self._ahead = list_ahead(self._transport.cpus())
        self._indexer.start(lambda: self.scheduler.wants_shards(horizon), self._ahead, ROUND_SECONDS)
        for listing in self._indexer.take():
            if not self._answer:
                listing = self._without_units(listing)
            if listing.chunks and not self._answer:
                missing = sum(chunk.requests for chunk in listing.chunks)
                raise UserError(
                    f"{missing} answers are missing in shard {listing.shard.id}, and a build uses no model. "
                    "Generate them first with recaption generate, do both with recaption run, or build only the first "
                    "N images with --limit N"
                )
            self.scheduler.listed(listing)
            self._events.shard_listed(listing)
            self._totals.listed(listing)
        if self._indexer.ended and not self._all_listed:
            self.scheduler.all_listed()
            self._all_listed, self._listed = True, self._transport.now()

    def _without_units(self, listing: ShardListing) -> ShardListing:
        """The listing for a build, which does not need all answers about units: if captions are split differently now,
        some sub-captions have no answer. The build counts them."""
        needed = [not question.per_unit for question in self._model.questions]
        chunks = [
            replace(chunk, missing=tuple(bits * need for bits, need in zip(chunk.missing, needed, strict=True)))
            for chunk in listing.chunks
        ]
        return replace(listing, chunks=tuple(chunk for chunk in chunks if chunk.requests))

    def _completed(self) -> Iterator[ShardListing]:
        for listing in self.scheduler.completed():
            self._events.shard_answered(listing)
            yield listing

    # work

    def _assign(self) -> None:
        for assignment in self.scheduler.assign():
            engine = self._engines[assignment.actor]
            engine.calls += 1
            ticket = self._transport.call(engine.handle, "work_on", assignment)
            self._chunks[ticket] = assignment
            self._expect(ticket, self._chunk_ended)

    def _level(self) -> None:
        """Take requests from busy engines for idle ones, and release engines that will get no more work."""
        now = self._transport.now()
        if now - self._levelled < self.fleet.period(often=True) / 2:
            return
        self._levelled = now
        for steal in self.scheduler.steals():
            busy = self._engines[steal.assignment.actor]
            ticket = self._transport.call(busy.handle, "give_back", steal.assignment.id, steal.requests)
            self._expect(ticket, partial(self._given_back, steal.assignment))
        released = self.fleet.release(self.scheduler.surplus())
        for engine in released:
            self._remove(engine)
            self._events.engine_released(engine)
        if released:
            self._callbacks.released(self.fleet.wanted)

    def _given_back(self, assignment: Assignment, reply: Reply) -> None:
        self.scheduler.given_back(assignment, None if isinstance(reply.error, ActorLost) else reply.result())

    def _chunk_ended(self, reply: Reply) -> None:
        assignment = self._chunks.pop(reply.ticket)
        error = self._reported(assignment, reply)
        engine = self._engines.get(assignment.actor)
        if engine is not None:
            engine.calls -= 1
        if error is None:
            if reply.value.chunk.requests:  # not all of it was given back
                self.fleet.useful(engine)
            self.scheduler.done(assignment, reply.value.chunk)
        elif isinstance(error, ActorLost):
            self._engine_lost(engine, error)
        elif isinstance(error, EngineDead):
            if engine is not None:
                self.scheduler.retire(engine.number)
                engine.end(error, self._transport.now() + FLUSH_SECONDS)
                if error.rows is not None:
                    engine.suspects[assignment.id] = error.rows
                    engine.suspect_images += [(assignment.chunk.shard.id, key) for key in error.keys]
        elif isinstance(error, ShardError) and assignment.attempt + 1 < MAX_ATTEMPTS:
            self.scheduler.failed(assignment)
            self._events.chunk_failed(assignment, error)
        elif isinstance(error, Interrupted):
            self.scheduler.returned(assignment)
        else:
            raise error

    def _reported(self, assignment: Assignment, reply: Reply) -> BaseException | None:
        """Count what an ended assignment has stored. Returns the error that it ended with."""
        if not isinstance(reply.value, Ended):
            return reply.error
        if self.scheduler.reported(assignment):
            _, others = reply.value.counters.split()
            # The recheck counts the images of a failed assignment: some are complete without the actor knowing,
            # because there is nothing to ask about their last units.
            counters = reply.value.counters if reply.value.error is None else others
            self._totals.stored(counters, assignment.actor)
        return reply.value.error

    def _recheck(self) -> None:
        for assignment in self.scheduler.to_recheck():
            if assignment.id not in self._rechecking:
                self._rechecking.add(assignment.id)
                ticket = self._transport.task(
                    recheck, self._model.questions, self._job, assignment.chunk, assignment.actor
                )
                self._expect(ticket, partial(self._rechecked, assignment))

    def _rechecked(self, assignment: Assignment, reply: Reply) -> None:
        self._rechecking.discard(assignment.id)
        missing, stored = reply.result()
        images, _ = stored.split()
        self._totals.stored(images if assignment.reported else stored, assignment.actor)
        before = self.scheduler.in_quarantine
        self.scheduler.rechecked(assignment, missing)
        if not assignment.quarantined and self.scheduler.in_quarantine > before:
            self._events.quarantined(missing)

    def _reject_poison(self) -> None:
        """Store the rejects of poison images once an engine has proved to work. Until then, engines may be at fault."""
        self._poison += self.scheduler.poison()
        idle = not self.scheduler.waiting and not any(engine.calls for engine in self._engines.values())
        if not self._poison or not (self.fleet.any_useful or idle):
            return
        for chunk in self._poison:
            detail = f"in isolation, it crashed two new engines. Message of the last one: {self._last_error}"
            number, self._poison_stored = self._poison_stored, self._poison_stored + 1
            ticket = self._transport.task(reject_poison, self._model.questions, self._job, chunk, number, detail)
            self._expect(ticket, partial(self._poison_rejected, chunk))
        self._poison.clear()

    def _poison_rejected(self, chunk: Chunk, reply: Reply) -> None:
        rejects, counters = reply.result()
        self._totals.stored(counters)
        self._events.rejected(rejects)
        self.scheduler.poison_stored(chunk)

    # engines

    def _start_engines(self) -> None:
        """Start the missing engines if there is work for them."""
        if not self.scheduler.waiting:
            return
        self._callbacks.may_start()
        for engine, ticket in self.fleet.grow():
            self._expect(ticket, partial(self._engine_started, engine))
            if self._phase == "listing":
                self._phase = "starting engine"
        self._report_gpu_wait()

    def _report_gpu_wait(self) -> None:
        """Emit an event when engines begin to wait for a node with GPUs, and when one has joined."""
        before, waits = self._gpu_wait, self.fleet.waits_for_gpus
        if waits != self._waits:
            self._waits = waits
            if waits:
                self._events.waiting_for_gpus(self._model.config.tensor_parallel, self._transport.gpus())
            else:
                self._events.gpus_available(before)
        self._gpu_wait = self.fleet.gpu_wait_seconds

    def _engine_started(self, engine: EngineState, reply: Reply) -> None:
        if isinstance(reply.error, EngineDead | ActorLost):
            self._engine_lost(engine, reply.error)
            return
        capacity, self._provenance = reply.result()
        if engine.number not in self._engines:
            return  # released meanwhile
        self.fleet.ready(capacity)
        self._report_gpu_wait()
        self.scheduler.actor_ready(engine.number, capacity)
        self._events.engine_started(engine, self._provenance)
        self._phase = "generating"
        self._started = self._started or self._transport.now()

    def _poll(self) -> None:
        """Poll the engines that are due, without waiting for them."""
        for engine, ticket in self.fleet.poll(often=not self.scheduler.waiting):
            self._expect(ticket, partial(self._polled, engine))

    def _polled(self, engine: EngineState, reply: Reply) -> None:
        if isinstance(reply.error, ActorLost):
            self._engine_lost(engine, reply.error)
            return
        poll: Poll = reply.result()
        self._events.polled(poll)
        if engine.number not in self._engines:
            return
        self.fleet.polled(engine, poll)
        self.scheduler.polled(engine.number, poll.open)
        if poll.bloated and self.fleet.recycle(engine):
            self.scheduler.retire(engine.number)
            ticket = self._transport.call(engine.handle, "drain", self._model.config.hang_seconds)
            self._expect(ticket, partial(self._recycled, engine))

    def _recycled(self, engine: EngineState, reply: Reply) -> None:
        """An engine that used too much memory is drained; `_reap` removes it."""
        if reply.error is not None and not isinstance(reply.error, ActorLost | EngineDead):
            raise reply.error
        engine.end(reply.error, self._transport.now() + FLUSH_SECONDS)

    def _reap(self) -> None:
        """Remove failed and drained engines once all their chunks have reported, or after a deadline."""
        now = self._transport.now()
        for engine in [e for e in self._engines.values() if e.reap_after is not None]:
            if engine.reap_after is not None and (not engine.calls or now > engine.reap_after):
                if engine.error is not None:
                    self._engine_lost(engine, engine.error, known=True)
                else:
                    self._remove(engine)
                    self._events.engine_recycled(engine)
        for engine in self.fleet.silent():
            seconds = self._model.config.hang_seconds
            self._engine_lost(engine, EngineDead(f"the engine's process has not answered for {seconds:g} s"))

    def _engine_lost(self, engine: EngineState | None, error: BaseException, *, known: bool = False) -> None:
        """Remove an engine that has failed. `known`: its chunks have reported which rows were in flight."""
        if engine is None or engine.number not in self._engines:
            return  # removed already, when another of its calls failed
        returned = self._remove(engine, known=known)
        self._deaths += 1
        self._last_error = last_line(error)
        self._events.engine_died(engine, self._last_error, engine.suspect_images if known else [])
        quarantined = any(assignment.quarantined for assignment in returned)
        self.fleet.failed(engine, quarantined=quarantined, detail=self._last_error)

    def _remove(self, engine: EngineState, *, known: bool = True) -> list[Assignment]:
        self._totals.removed(engine)
        self.fleet.removed(engine)
        return self.scheduler.lost(engine.number, engine.suspects if known else None)

    # progress

    def _report_progress(self) -> None:
        if self._breaker is not None:
            counters = self._totals.counters(self._engines.values())
            self._breaker.observe(counters.total, counters.degenerate.total(), counters.reasons)
        self._callbacks.report(self.progress)

    def _check_sums(self) -> None:
        """Raise DatasetError unless each image of each generation is answered or rejected."""
        for id, generation in self.progress.generations.items():
            if not self._answer and generation.finished is not None:
                continue  # a build works with what there is
            if generation.done != generation.total:
                raise DatasetError(f"the counts of the run do not add up: {generation.sums_text(id)}")

    def _last_poll(self) -> None:
        tickets = {self._transport.call(engine.handle, "poll"): engine for engine in self.fleet.started}
        deadline = self._transport.now() + 5
        while tickets and self._transport.now() < deadline:
            for reply in self._transport.wait(ROUND_SECONDS):
                engine = tickets.pop(reply.ticket, None)
                self._events.polled(reply.value)
                if engine is not None and reply.error is None:
                    self.fleet.polled(engine, reply.value)

    def _drain(self) -> None:
        """Let each engine finish and store its requests in flight, for at most DRAIN_SECONDS."""
        tickets = {self._transport.call(engine.handle, "drain", DRAIN_SECONDS) for engine in self.fleet.started}
        tickets |= self._chunks.keys()
        deadline = self._transport.now() + DRAIN_SECONDS + FLUSH_SECONDS
        while tickets and self._transport.now() < deadline:
            for reply in self._transport.wait(ROUND_SECONDS):
                tickets.discard(reply.ticket)
                if (assignment := self._chunks.pop(reply.ticket, None)) is not None:
                    self._reported(assignment, reply)
                self._events.polled(reply.value)
        self._last_poll()
        self._callbacks.report(self.progress)
