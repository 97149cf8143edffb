"""The actor that holds one engine: reads a chunk's images, has them rendered, asks, and puts the parts itself.

Plain asyncio, no Ray in it: `transport` turns `EngineHost` into a Ray actor, tests run it as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

from recaption import engine as engines
from recaption.engine.base import Completion, Engine, Gauge, Rendered, RendererSpec, Request
from recaption.engine.completion import complete
from recaption.errors import EngineDead, ImageError, Interrupted, RecaptionError, RequestError, ShardError, UserError
from recaption.generate import render
from recaption.generate.chunks import Chunk
from recaption.generate.counters import Counters
from recaption.generate.engine_state import Assignment
from recaption.generate.intake import Intake
from recaption.generate.meter import Meter, Where
from recaption.generate.retry import ask_until_answered, reject
from recaption.generate.work import Buffer, HostSpec, Item, Work
from recaption.io.store import Store, open_store
from recaption.tasks.question import Question
from recaption.types import Answer, Reject

NAMED = 16  # rejects between two polls of which the driver is told which they are
DETAIL = 200  # characters of what it is told of each
READ_ATTEMPTS = 3  # times that an image which cannot be read is tried before it is a reject
WINDOW = 1.0  # seconds of the meter and the watchdogs
Launch = Callable[[RendererSpec], render.Worker]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The end of an assignment whose actor lives: its chunk without what was given back, and what it stored of it.

    With an `error`, a part of the chunk may be missing from the store.
    """

    chunk: Chunk
    counters: Counters
    error: RecaptionError | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Poll:
    """How an actor is doing: a few hundred bytes."""

    counters: Counters  # of the actor since its start: what it has stored, and tokens
    meter: Meter
    open: dict[int, tuple[int, int]]  # assignment -> requests not settled, of them not begun
    in_flight: int  # requests
    renderers: int
    host_bytes: int  # memory of the engine's processes and its renderers
    bloated: bool = False  # more than it may take
    answers: int = 0  # of the engine, whether stored yet or not
    rejected: tuple[Reject, ...] = ()  # since the last poll, with short details: for the log
    not_named: int = 0  # rejects since the last poll, beyond those


class EngineHost:
    """One engine and the work around it. `run_chunk` may be called many times at once."""

    def __init__(self, spec: HostSpec, engine: Engine | None = None, launch: Launch = render.RayWorker) -> None:
        self._spec = spec
        self._store: Store = open_store(spec.store_url)
        self._given, self._launch = engine, launch
        self._counters, self._meter = Counters(), Meter()
        self._rejected: list[Reject] = []  # since the last poll, the first NAMED
        self._not_named = 0
        self._works: dict[int, Work] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._least_in_flight = 0
        self._completed = self._answers = 0
        self._draining = False
        self._dead: EngineDead | None = None
        self._pool: render.RenderPool | None = None
        self._watching: asyncio.Task[None] | None = None
        self._host_bytes = 0
        self._may_take = spec.host_bytes or 0.8 * node_bytes() / spec.neighbours

    async def start(self) -> tuple[int, dict[str, str]]:
        """Start the engine and its renderers. Returns its capacity (requests in flight) and its provenance.

        Raises what the user can mend as it is (ConfigError, MissingExtra), everything else as EngineDead.
        """
        try:
            self._engine: Engine = await asyncio.to_thread(self._build) if self._given is None else self._given
            # The recipe first: two threads that import an engine's packages at once see them half made.
            spec = None if self._spec.renderers == 0 else await asyncio.to_thread(self._engine.renderer)
            rendering = asyncio.create_task(self._start_renderers(spec))
            try:
                await self._engine.start()
                await rendering
            finally:
                rendering.cancel()
        except (RecaptionError, UserError, ImportError):
            raise
        except Exception as error:
            raise EngineDead(f"the engine did not start: {type(error).__name__}: {error}") from error
        self._capacity = self._engine.capacity
        self._intake = Intake(self._spec, self._store, self._capacity, self._pool, self._meter)
        self._intake.on_ready = self._pump
        self._intake.on_unusable = self._unusable
        self._intake.on_broken = self._abort
        self._intake.start()
        self._watching = asyncio.create_task(self._watch())
        self._watching.add_done_callback(self._answered)
        return self._capacity, {**self._engine.provenance(), "capacity": str(self._capacity)}

    async def work_on(self, assignment: Assignment) -> Ended:
        """As `run_chunk`, but a failure comes with the figures of what was stored before it."""
        stored = Counters()
        try:
            return Ended(chunk=await self.run_chunk(assignment, stored), counters=stored)
        except RecaptionError as error:
            return Ended(chunk=assignment.chunk, counters=stored, error=error)

    async def run_chunk(self, assignment: Assignment, stored: Counters | None = None) -> Chunk:
        """Answer or reject everything that the chunk misses, and put it: when this returns, it lies in the store.

        Returns the chunk without what was given back. Raises EngineDead, StoreError, ShardError (the source cannot be
        read now), Interrupted (drained); what was answered is put all the same. What is put is added to `stored`.
        """
        questions, chunk = self._spec.questions, assignment.chunk
        stem = f"{chunk.number:06d}.{self._spec.epoch:06d}"
        writer = f"{self._spec.actor}_{assignment.id}"
        counters = (self._counters,) if stored is None else (self._counters, stored)
        buffer = Buffer(self._store, questions, chunk, stem, writer, self._meter, counters)
        buffer.on_unstorable = self._name
        work = Work(assignment, questions, buffer)
        if self._dead or self._draining:
            raise self._again(self._dead) if self._dead else Interrupted("drained on request")
        self._works[assignment.id] = work
        flusher = asyncio.create_task(buffer.flush_regularly())
        ended = asyncio.create_task(work.ended.wait())
        try:
            self._intake.add(work)
            await asyncio.wait({flusher, ended}, return_when=asyncio.FIRST_COMPLETED)
            if flusher.done() and not flusher.cancelled() and (failed := flusher.exception()):
                raise failed
        finally:
            flusher.cancel()
            ended.cancel()
            try:
                await buffer.flush()  # what was paid for is kept, whatever else went wrong
            finally:
                del self._works[assignment.id]
        if isinstance(work.error, EngineDead):
            raise self._again(work.error, work.suspects, tuple(work.keys[row] for row in work.suspects))
        if work.error is not None:
            raise work.error
        return work.chunk

    async def give_back(self, assignment: int, requests: int) -> Chunk | None:
        """Take up to so many requests of an assignment back that have not begun; None when there are none."""
        work = self._works.get(assignment)
        return None if work is None or self._draining else work.give_back(requests)

    async def poll(self) -> Poll:
        rejected, not_named, self._rejected, self._not_named = self._rejected, self._not_named, [], 0
        return Poll(
            counters=self._counters,
            meter=self._meter,
            open={n: work.open for n, work in self._works.items()},
            in_flight=self._in_flight,
            renderers=self._pool.size if self._pool else 0,
            host_bytes=self._host_bytes,
            bloated=self._host_bytes > self._may_take,
            answers=self._answers,
            rejected=tuple(rejected),
            not_named=not_named,
        )

    async def drain(self, deadline: float) -> None:
        """Take in nothing more, wait at most `deadline` seconds for what is in the engine, and put what is answered."""
        self._draining = True
        self._intake.stop()
        until = time.monotonic() + deadline
        while self._asking and time.monotonic() < until:
            await asyncio.sleep(0.05)
        works = list(self._works.values())
        await asyncio.gather(*(work.buffer.flush() for work in works))
        for work in works:
            work.abort(Interrupted("drained on request"))

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
        self._intake.stop()
        await self._engine.stop()

    # images on their way

    def _pump(self) -> None:
        """Fill the engine up with what is ready, all prompts of an image back to back."""
        ready = self._intake.ready
        while ready and not self._draining and self._dead is None:
            item = ready[0]
            if item.wanted and self._in_flight and self._in_flight + len(item.questions) > self._capacity:
                return
            ready.popleft()
            task = asyncio.create_task(self._answer(item) if item.wanted else self._intake.taken(item))
            if item.wanted:
                self._meter.spent("queue", time.monotonic() - item.since)
                item.work.begin(item.image.row, item.image.key)
                self._in_flight += len(item.questions)
            self._asking.add(task)
            task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._asking.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._abort(error if isinstance(error, RecaptionError) else EngineDead(f"{type(error).__name__}: {error}"))

    async def _answer(self, item: Item) -> None:
        try:
            await asyncio.gather(*(self._answer_question(item, question) for question in item.questions))
        finally:
            await self._intake.taken(item)
        item.work.settle(item.image.row)

    async def _answer_question(self, item: Item, question: Question) -> None:
        async def ask(request: Request) -> Completion:
            return await self._ask(item, question, request)

        try:
            result = await ask_until_answered(question, item.image, item.data, ask)
        except EngineDead as error:
            self._abort(error)  # before the next image begins: it would be a suspect too
            raise
        finally:
            self._in_flight -= 1
            self._pump()
            self._least_in_flight = min(self._least_in_flight, self._in_flight)
        item.work.answered(item.image.row)
        self._name(result)
        self._completed += 1
        self._answers += isinstance(result, Answer)
        item.work.buffer.add(question, result)

    def _name(self, item: Answer | Reject) -> None:
        """Keep a reject for the next poll, which names it in the log."""
        if isinstance(item, Reject) and len(self._rejected) < NAMED:
            self._rejected.append(dataclasses.replace(item, detail=item.detail[:DETAIL]))
        elif isinstance(item, Reject):
            self._not_named += 1

    async def _ask(self, item: Item, question: Question, request: Request) -> Completion:
        work: Request | Rendered = request
        if self._pool is not None:
            rendered = item.rendered[question.id]
            if request.pixel_share != 1.0:
                rendered = await self._intake.again(request)
            if isinstance(rendered, ImageError):
                raise ImageError(rendered.reason, rendered.args[0])
            if isinstance(rendered, RecaptionError):
                raise RequestError(rendered.args[0])
            work = dataclasses.replace(rendered, sampling=request.sampling)
        started = time.monotonic()
        try:
            completion = await complete(self._engine, work)
        except (RecaptionError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise EngineDead(f"the engine failed: {type(error).__name__}: {error}") from error
        self._meter.spent("engine", time.monotonic() - started)
        self._counters.prompt_tokens[question.id] += completion.prompt_tokens
        self._counters.cached_tokens[question.id] += completion.cached_tokens
        self._counters.output_tokens[question.id] += completion.output_tokens
        return completion

    def _unusable(self, item: Item, error: ImageError) -> None:
        """An image that could not be read: a reject, or a reason to try the chunk again later."""
        work = item.work
        if error.reason == "unreadable" and work.assignment.attempt < READ_ATTEMPTS - 1:
            work.skip(item.image.row, ShardError(str(error), shard=item.image.shard))
            return
        work.begin(item.image.row, item.image.key)
        task = asyncio.create_task(self._reject(item, error))
        self._asking.add(task)
        task.add_done_callback(self._answered)

    async def _reject(self, item: Item, error: ImageError) -> None:
        for question in item.questions:
            found = reject(question, item.image, error.reason, str(error), [])
            self._name(found)
            item.work.buffer.add(question, found)
        item.work.settle(item.image.row)

    def _abort(self, error: RecaptionError) -> None:
        """The engine, the store or the renderers failed: every open chunk ends with it."""
        if isinstance(error, Interrupted) and self._draining:
            return
        if isinstance(error, EngineDead) and self._dead is None:
            self._dead = error
            self._intake.stop()
        for work in list(self._works.values()):
            work.abort(error)

    @staticmethod
    def _again(error: EngineDead, rows: tuple[int, ...] = (), keys: tuple[str, ...] = ()) -> EngineDead:
        """The same death, told for another chunk, with the rows of it that were in the engine."""
        told = EngineDead(*error.args)
        told.rows, told.keys = rows, keys
        return told

    # renderers and watchdogs

    def _build(self) -> Engine:
        """The engine, on a node that sees the output: one that joins late was not there when that was looked at."""
        if self._spec.all_cores:  # Ray has said one thread for one reserved core
            os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self._spec.neighbours))
            # Threads that spin while they wait for each other steal from whoever they wait for: beside another busy
            # process, an engine of two threads on two cores made a third of the tokens.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        engine = engines.build(self._spec.engine)
        if not self._store.exists(f"lease/{self._spec.epoch:06d}.json"):
            raise EngineDead(f"node {platform.node()} does not see the output {self._spec.store_url}")
        return engine

    async def _start_renderers(self, spec: RendererSpec | None) -> None:
        if spec is None:
            return
        size = 1 if self._spec.renderers is None else self._spec.renderers
        self._pool = render.RenderPool(lambda: self._launch(spec), size)
        await self._pool.start()

    async def _watch(self) -> None:
        """Once a second: feed the meter, size the renderers, see that the engine lives and does not grow for ever."""
        scale = render.RenderScale(max(1, (os.cpu_count() or 2) // self._spec.neighbours - 1))
        before, last = self._gauge(), time.monotonic()
        alive, sign = last, (before.output_tokens, self._completed)
        self._least_in_flight = self._in_flight
        while self._dead is None:
            await asyncio.sleep(WINDOW)
            now, gauge = time.monotonic(), self._gauge()
            # An engine that cannot tell is busy while as many requests are in flight as it wants.
            full = self._least_in_flight + len(self._spec.questions) > self._capacity
            saturated = gauge.least_waiting > 0 if gauge.running >= 0 else full
            where = self._where()
            if gauge.output_tokens:  # before the first one there is nothing to be measured by
                tokens, requests = gauge.output_tokens - before.output_tokens, gauge.requests - before.requests
                self._meter.window(now - last, tokens, requests, saturated=saturated, where=where)
            if self._pool is not None and self._spec.renderers is None:
                change = scale.decide(
                    now,
                    self._pool.size,
                    starved=not saturated,
                    waiting=self._intake.waiting,
                    ready=where.ready,
                    busy=self._pool.busy,
                )
                if change:
                    await self._pool.resize(change)
            if (gauge.output_tokens, self._completed) != sign or not self._in_flight:
                alive, sign = now, (gauge.output_tokens, self._completed)
            elif now - alive > self._spec.hang_seconds and not getattr(self._engine, "bounds_requests", False):
                self._abort(EngineDead(f"the engine hangs: no token for {now - alive:.0f} s while requests run"))
            self._host_bytes = await asyncio.to_thread(host_bytes)
            before, last = gauge, now
            self._least_in_flight = self._in_flight

    def _gauge(self) -> Gauge:
        found = self._engine.gauge()
        if found is not None:
            return found
        tokens = self._counters.output_tokens.total()
        return Gauge(
            running=-1, waiting=0, least_waiting=0, requests=self._completed, prompt_tokens=0, output_tokens=tokens
        )

    def _where(self) -> Where:
        decode, rendering = self._meter.stages["decode"], self._meter.stages["render"]
        return Where(
            reading=self._intake.reading,
            rendering=self._intake.waiting,
            ready=len(self._intake.ready),
            decode_share=decode / (decode + rendering) if decode else 0.0,
        )


def node_bytes() -> float:
    """Memory of this machine; infinite where nobody can tell."""
    try:
        import psutil
    except ImportError:
        return float("inf")
    return float(psutil.virtual_memory().total)


def host_bytes() -> int:
    """Memory of this process and those below it, without what they share (weights in shared memory, Ray's objects)."""
    try:
        import psutil
    except ImportError:
        return 0
    total = 0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            memory = process.memory_info()
            total += memory.rss - getattr(memory, "shared", 0)
    return total
