"""The actor that runs one engine: it reads and renders the images of a chunk, sends the requests, and stores the parts.

Plain asyncio without Ray. `transport` turns `EngineHost` into a Ray actor; tests run it as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from recaption import engine as engines
from recaption.engine.base import Completion, Engine, EngineSpec, Gauge, Rendered, RendererSpec, Request
from recaption.engine.completion import complete
from recaption.errors import EngineDead, ImageError, Interrupted, RecaptionError, RequestError, ShardError, UserError
from recaption.generate import render
from recaption.generate.chunk_state import ChunkState, QueuedImage, QueuedRequest
from recaption.generate.chunks import Chunk
from recaption.generate.counters import Counters
from recaption.generate.engine_state import Assignment
from recaption.generate.gpu_use import GpuUse, gpu_reader
from recaption.generate.part_writer import PartWriter
from recaption.generate.prefetch import Prefetcher
from recaption.generate.retry import answer_with_retries, first_attempt, reject
from recaption.generate.utilisation import Meter, Where
from recaption.io.store import Store, open_store
from recaption.output import answers as parts
from recaption.output.paths import lease_file
from recaption.output.units import QuestionState, ShardAnswers, annotator
from recaption.source import Source
from recaption.tasks.question import Question, UnitRequest, closure
from recaption.types import Answer, Reject

NAMED = 16  # rejects that a poll lists individually
DETAIL = 200  # characters of detail per listed reject
READ_ATTEMPTS = 3  # attempts to read an image before it is rejected
ANSWERS_KEPT = 2  # shards whose answers are kept in memory, if requests are made from them
WINDOW = 1.0  # seconds between two checks of the meter and the watchdogs
Launch = Callable[[RendererSpec], render.Worker]


@dataclass(frozen=True, kw_only=True, slots=True)
class ActorSpec:
    """The settings of an actor; plain picklable values."""

    engine: EngineSpec
    questions: tuple[Question, ...]
    source: Source
    store_url: str
    epoch: int
    actor: int
    renderers: int | None = None  # None: as many as are needed
    neighbours: int = 1  # engines on its node, including this one
    all_cores: bool = False  # compute on the node's cores, shared with the neighbours; else on those that Ray reserved
    on_gpu: bool = False  # Ray has reserved GPUs for it
    hang_seconds: float = 300.0
    retry_reasons: frozenset[str] = frozenset()  # rejects for these reasons count as missing
    host_bytes: int | None = None  # memory limit of the replica; None: its share of 80% of the node


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """The end of an assignment whose actor is alive: the chunk without the rows that were given back, and the counts
    of stored results.

    With an `error`, results may be missing from the store.
    """

    chunk: Chunk
    counters: Counters
    error: RecaptionError | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Poll:
    """The state of an actor in a few hundred bytes."""

    counters: Counters  # stored results and processed tokens since the actor started
    meter: Meter
    open: dict[int, tuple[int, int]]  # assignment -> unfinished requests, and how many of them are queued
    in_flight: int  # requests
    renderers: int
    host_bytes: int  # memory of the engine's processes and its renderers
    bloated: bool = False  # the memory is above the limit
    node: str = ""  # the name of its machine
    gpus: tuple[GpuUse, ...] = ()  # of its engine, as far as NVML reports them
    answers: int = 0  # of the engine, stored or not
    rejected: tuple[Reject, ...] = ()  # the first ones since the last poll, with short details: for the log
    not_named: int = 0  # further rejects since the last poll


class EngineHost:
    """One engine and the work around it. Calls of `run_chunk` may run concurrently."""

    def __init__(self, spec: ActorSpec, engine: Engine | None = None, launch: Launch = render.RayWorker) -> None:
        self._spec = spec
        self._store: Store = open_store(spec.store_url)
        self._given, self._launch = engine, launch
        self._counters, self._meter = Counters(), Meter()
        self._rejected: list[Reject] = []  # since the last poll, the first NAMED
        self._not_named = 0
        self._chunks: dict[int, ChunkState] = {}  # by assignment
        self._running: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._least_in_flight = 0
        self._completed = self._answers = 0
        self._draining = False
        self._dead: EngineDead | None = None
        self._pool: render.RenderPool | None = None
        self._watching: asyncio.Task[None] | None = None
        self._watching_gpus: asyncio.Task[None] | None = None
        self._stored: dict[str, ShardAnswers] = {}  # by shard, the last used one at the end
        self._loading = asyncio.Lock()
        self._units = ThreadPoolExecutor(1, "recaption-units")
        self._host_bytes = 0
        self._gpus: tuple[GpuUse, ...] = ()
        self._memory_limit = spec.host_bytes or 0.8 * node_bytes() / spec.neighbours

    async def start(self) -> tuple[int, dict[str, str]]:
        """Start the engine and its renderers. Returns the engine's capacity (requests in flight) and its provenance.

        Raises ConfigError and MissingExtra, which the user can fix, and EngineDead for all other errors.
        """
        try:
            self._engine: Engine = await asyncio.to_thread(self._build) if self._given is None else self._given
            # Before the engine starts: two threads that import its packages at the same time see partial modules.
            spec = None if self._spec.renderers == 0 else await asyncio.to_thread(self._engine.renderer)
            await asyncio.to_thread(parts.load_libraries)
            # Loaded with the first image, annotators left engines idle (bench `units`: 0.88 busy instead of 0.98).
            for settings in {question.annotate for question in self._spec.questions if question.annotate is not None}:
                await asyncio.get_running_loop().run_in_executor(self._units, annotator, settings)
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
        # A question with `over` waits until its inputs are stored: such images are held beside those in the engine.
        images = self._capacity * (2 if any(question.over for question in self._spec.questions) else 1)
        self._prefetch = Prefetcher(
            self._store, self._spec.source, self._spec.engine.limits, images, self._pool, self._meter
        )
        self._prefetch.on_ready = self._pump
        self._prefetch.on_unusable = self._unusable
        self._prefetch.on_broken = self._abort
        self._prefetch.start()
        self._watching = asyncio.create_task(self._watch())
        self._watching.add_done_callback(self._ended)
        if self._spec.on_gpu:
            self._watching_gpus = asyncio.create_task(self._watch_gpus())
        return self._capacity, {**self._engine.provenance(), "capacity": str(self._capacity)}

    async def work_on(self, assignment: Assignment) -> Ended:
        """As `run_chunk`, but an error is returned with the counts of what was stored before it."""
        stored = Counters()
        try:
            return Ended(chunk=await self.run_chunk(assignment, stored), counters=stored)
        except RecaptionError as error:
            return Ended(chunk=assignment.chunk, counters=stored, error=error)

    async def run_chunk(self, assignment: Assignment, stored: Counters | None = None) -> Chunk:
        """Answer or reject all missing requests of the chunk. When this returns, the results are in the store.

        Returns the chunk without the rows that were given back. Raises EngineDead, StoreError, ShardError (the source
        cannot be read now), Interrupted (drained); finished results are stored before it raises. Stored results are
        added to `stored`.
        """
        questions, chunk = self._spec.questions, assignment.chunk
        stem = f"{chunk.number:06d}.{self._spec.epoch:06d}"
        suffix = f"{self._spec.actor}_{assignment.id}"
        counters = (self._counters,) if stored is None else (self._counters, stored)
        writer = PartWriter(self._store, questions, chunk, stem, suffix, self._meter, counters)
        writer.on_unstorable = self._list_reject
        state = ChunkState(assignment, questions, writer)
        await self._load_answers(state)
        if self._dead or self._draining:
            raise self._copy(self._dead) if self._dead else Interrupted("drained on request")
        self._chunks[assignment.id] = state
        flusher = asyncio.create_task(writer.flush_regularly())
        ended = asyncio.create_task(state.ended.wait())
        try:
            self._prefetch.add(state)
            await asyncio.wait({flusher, ended}, return_when=asyncio.FIRST_COMPLETED)
            if flusher.done() and not flusher.cancelled() and (failed := flusher.exception()):
                raise failed
        finally:
            flusher.cancel()
            ended.cancel()
            try:
                await writer.close()  # finished results are stored, whatever else failed
            finally:
                del self._chunks[assignment.id]
        if isinstance(state.error, EngineDead):
            raise self._copy(state.error, state.suspects, tuple(state.keys[row] for row in state.suspects))
        if state.error is not None:
            raise state.error
        return state.chunk

    async def give_back(self, assignment: int, requests: int) -> Chunk | None:
        """Take up to `requests` queued requests back from an assignment. Returns None if none is queued."""
        state = self._chunks.get(assignment)
        return None if state is None or self._draining else state.give_back(requests)

    async def poll(self) -> Poll:
        rejected, not_named, self._rejected, self._not_named = self._rejected, self._not_named, [], 0
        return Poll(
            counters=self._counters,
            meter=self._meter,
            open={n: state.open for n, state in self._chunks.items()},
            in_flight=self._in_flight,
            renderers=self._pool.size if self._pool else 0,
            host_bytes=self._host_bytes,
            bloated=self._host_bytes > self._memory_limit,
            node=platform.node(),
            gpus=self._gpus,
            answers=self._answers,
            rejected=tuple(rejected),
            not_named=not_named,
        )

    async def drain(self, deadline: float) -> None:
        """Take no more images, wait at most `deadline` seconds for requests in flight, and store what is answered."""
        self._draining = True
        self._prefetch.stop()
        until = time.monotonic() + deadline
        while self._running and time.monotonic() < until:
            await asyncio.sleep(0.05)
        states = list(self._chunks.values())
        await asyncio.gather(*(state.writer.flush() for state in states))
        for state in states:
            state.abort(Interrupted("drained on request"))

    async def stop(self) -> None:
        for task in (self._watching, self._watching_gpus):
            if task is not None:
                task.cancel()
        self._prefetch.stop()
        self._units.shutdown(wait=False, cancel_futures=True)
        await self._engine.stop()

    # images on their way to the engine

    def _pump(self) -> None:
        """Fill the engine with ready images; all requests of an image enter together."""
        ready = self._prefetch.ready
        while ready and not self._draining and self._dead is None:
            item = ready[0]
            if item.wanted and self._in_flight and self._in_flight + item.load > self._capacity:
                return
            ready.popleft()
            task = asyncio.create_task(self._answer_image(item) if item.wanted else self._prefetch.release(item))
            if item.wanted:
                self._meter.spent("queue", time.monotonic() - item.since)
                item.state.begin(item.image.row, item.image.key, len(item.requests))
                self._in_flight += item.load
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._abort(error if isinstance(error, RecaptionError) else EngineDead(f"{type(error).__name__}: {error}"))

    async def _answer_image(self, item: QueuedImage) -> None:
        try:
            await asyncio.gather(*(self._answer(item, queued) for queued in item.requests))
            complete = await self._answer_later(item)
        finally:
            await self._prefetch.release(item)
        if complete:
            item.state.finish(item.image.row)

    async def _answer_later(self, item: QueuedImage) -> bool:
        """Send the requests about units. Returns False if the engine is drained or dies before the end."""
        place = 0 if item.requests else item.load  # taken when the image entered the engine
        unstored = bool(item.requests)
        for question in item.later:
            state = await self._state_of(item, question, unstored=unstored)
            if self._ending:
                return False
            assert state.status != "waiting", "an upstream answer is neither stored nor rejected"
            queued = [QueuedRequest(request=r, first=first_attempt(r, item.data)) for r in state.missing]
            await self._render_later(queued)
            if self._ending:  # sent to an engine that has died, this image would become a suspect
                return False
            self._in_flight += len(queued) - place
            place = 0
            unstored = bool(queued) or (unstored and not question.over)
            item.state.more(item.image.row, len(queued))
            await asyncio.gather(*(self._answer(item, each) for each in queued))
            item.state.writer.finished(question, skipped=state.status == "skipped")
        self._in_flight -= place
        self._pump()  # places may have become free without an answer
        return True

    @property
    def _ending(self) -> bool:
        """Whether nothing more is sent to the engine."""
        return self._draining or self._dead is not None

    async def _state_of(self, item: QueuedImage, question: Question, *, unstored: bool) -> QuestionState:
        """The units of a question. If it reads other answers and some are `unstored`, these are stored first: no
        request is made from an answer that could be lost. Units are found in a single thread outside the event loop."""
        if unstored and question.over:
            await item.state.writer.stored()
        answers = item.state.answers
        assert answers is not None
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._units, lambda: answers.of(item.image).state(question))

    async def _render_later(self, queued: Sequence[QueuedRequest]) -> None:
        sent = [(each, each.first) for each in queued if each.first is not None]
        if self._pool is not None and sent:
            results = await self._prefetch.render([first for _, first in sent])
            for (each, _), result in zip(sent, results, strict=True):
                each.rendered = result

    async def _load_answers(self, state: ChunkState) -> None:
        """Read the stored answers about units of the assignment's shard: inputs of further requests, and answers to
        requests that are not sent again.

        Answers are kept from one assignment to the next. Files that other actors have stored meanwhile are read, too.
        """
        of_units = [question for question in self._spec.questions if question.per_unit]
        if not of_units:
            return
        shard = state.chunk.shard.id
        async with self._loading:
            answers = self._stored.pop(shard, None)
            answers = answers or ShardAnswers(self._store, shard, self._spec.retry_reasons, self._spec.epoch)
            self._stored[shard] = answers
            while len(self._stored) > ANSWERS_KEPT:
                self._stored.pop(next(iter(self._stored)))
            await asyncio.to_thread(answers.refresh, closure(of_units))
        state.answers, state.writer.on_stored = answers, answers.add

    async def _answer(self, item: QueuedImage, queued: QueuedRequest) -> None:
        async def generate(attempt: Request) -> Completion:
            return await self._generate(queued, attempt)

        try:
            result = await answer_with_retries(queued.request, queued.first, generate)
        except EngineDead as error:
            self._abort(error)  # before the next image enters: it would become a suspect too
            raise
        finally:
            self._in_flight -= 1
            self._pump()
            self._least_in_flight = min(self._least_in_flight, self._in_flight)
        item.state.answered(item.image.row)
        self._list_reject(result)
        self._completed += 1
        self._answers += isinstance(result, Answer)
        item.state.writer.add(queued.request.question, result)

    def _list_reject(self, item: Answer | Reject) -> None:
        """Keep a reject for the next poll, so that the log can list it."""
        if isinstance(item, Reject) and len(self._rejected) < NAMED:
            self._rejected.append(dataclasses.replace(item, detail=item.detail[:DETAIL]))
        elif isinstance(item, Reject):
            self._not_named += 1

    async def _generate(self, queued: QueuedRequest, attempt: Request) -> Completion:
        work: Request | Rendered = attempt
        if self._pool is not None:
            rendered = queued.rendered
            if attempt.pixel_share < 1.0:
                [rendered] = await self._prefetch.render([attempt])
            if isinstance(rendered, ImageError):
                raise ImageError(rendered.reason, rendered.args[0])
            if isinstance(rendered, RecaptionError):
                raise RequestError(rendered.args[0])
            assert rendered is not None
            work = dataclasses.replace(rendered, sampling=attempt.sampling)
        started = time.monotonic()
        try:
            completion = await complete(self._engine, work)
        except (RecaptionError, asyncio.CancelledError):
            raise
        except Exception as error:
            raise EngineDead(f"the engine failed: {type(error).__name__}: {error}") from error
        seconds = time.monotonic() - started
        self._meter.spent("engine", seconds)
        self._meter.took("engine", seconds)
        generation = queued.request.question.id
        self._counters.prompt_tokens[generation] += completion.prompt_tokens
        self._counters.cached_tokens[generation] += completion.cached_tokens
        self._counters.output_tokens[generation] += completion.output_tokens
        return completion

    def _unusable(self, item: QueuedImage, error: ImageError) -> None:
        """Reject an image that cannot be used, or leave it for a later attempt if it could not be read."""
        state = item.state
        if error.reason == "unreadable" and state.assignment.attempt < READ_ATTEMPTS - 1:
            state.skip(item.image.row, ShardError(str(error), shard=item.image.shard))
            return
        state.begin(item.image.row, item.image.key, 0)
        task = asyncio.create_task(self._reject(item, error))
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def _reject(self, item: QueuedImage, error: ImageError) -> None:
        self._add_rejects(item, [queued.request for queued in item.requests], error)
        unstored = bool(item.requests)
        for question in item.later:
            state = await self._state_of(item, question, unstored=unstored)
            self._add_rejects(item, state.missing, error)
            unstored = bool(state.missing) or (unstored and not question.over)
            item.state.writer.finished(question, skipped=state.status == "skipped")
        item.state.finish(item.image.row)

    def _add_rejects(self, item: QueuedImage, rejected: Sequence[UnitRequest], error: ImageError) -> None:
        for request in rejected:
            made = reject(request, error.reason, str(error))
            self._list_reject(made)
            item.state.writer.add(request.question, made)

    def _abort(self, error: RecaptionError) -> None:
        """The engine, the store or the renderers failed: end every open assignment with the error."""
        if isinstance(error, Interrupted) and self._draining:
            return
        if isinstance(error, EngineDead) and self._dead is None:
            self._dead = error
            self._prefetch.stop()
        for state in list(self._chunks.values()):
            state.abort(error)

    @staticmethod
    def _copy(error: EngineDead, rows: tuple[int, ...] = (), keys: tuple[str, ...] = ()) -> EngineDead:
        """A copy of the error for one assignment, with that assignment's rows and keys that were in the engine."""
        copy = EngineDead(*error.args)
        copy.rows, copy.keys = rows, keys
        return copy

    # renderers and watchdogs

    def _build(self) -> Engine:
        """Build the engine. Check that this node sees the output: the node may have joined after the run's check."""
        if self._spec.all_cores:  # Ray sets one thread per reserved core
            os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // self._spec.neighbours))
            # Waiting threads that spin take cores from the threads that they wait for: beside another busy process, an
            # engine with two threads on two cores reached a third of its throughput.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        engine = engines.build(self._spec.engine)
        if not self._store.exists(lease_file(self._spec.epoch, "json")):
            raise EngineDead(f"node {platform.node()} does not see the output {self._spec.store_url}")
        return engine

    async def _start_renderers(self, spec: RendererSpec | None) -> None:
        if spec is None:
            return
        size = 1 if self._spec.renderers is None else self._spec.renderers
        self._pool = render.RenderPool(lambda: self._launch(spec), size)
        await self._pool.start()

    async def _watch(self) -> None:
        """Once a second, update the meter, scale the renderers, and check the engine's progress and memory."""
        scale = render.RenderScale(max(1, (os.cpu_count() or 2) // self._spec.neighbours - 1))
        before, last = self._gauge(), time.monotonic()
        silent, progress = 0.0, (before.output_tokens, self._completed)
        self._least_in_flight = self._in_flight
        while self._dead is None:
            await asyncio.sleep(WINDOW)
            now, gauge = time.monotonic(), self._gauge()
            # An engine without a gauge is busy while its capacity is in flight.
            full = self._least_in_flight + len(self._spec.questions) > self._capacity
            saturated = gauge.least_waiting > 0 if gauge.running >= 0 else full
            where = self._where()
            if gauge.output_tokens:  # before the first token there is no rate to measure
                tokens, requests = gauge.output_tokens - before.output_tokens, gauge.requests - before.requests
                self._meter.window(now - last, tokens, requests, saturated=saturated, where=where)
            if self._pool is not None and self._spec.renderers is None:
                change = scale.decide(
                    now,
                    self._pool.size,
                    starved=not saturated,
                    waiting=self._prefetch.waiting,
                    ready=where.ready,
                    busy=self._pool.busy,
                )
                if change:
                    await self._pool.resize(change)
            if (gauge.output_tokens, self._completed) != progress or not self._in_flight:
                silent, progress = 0.0, (gauge.output_tokens, self._completed)
            else:  # a look that comes late says nothing about the engine: this process was stopped or had to wait
                silent += min(now - last, 2 * WINDOW)
                if silent > self._spec.hang_seconds and not getattr(self._engine, "bounds_requests", False):
                    self._abort(
                        EngineDead(f"the engine hangs: no token for {silent:.0f} s while requests are in flight")
                    )
            self._host_bytes = await asyncio.to_thread(host_bytes)
            before, last = gauge, now
            self._least_in_flight = self._in_flight

    async def _watch_gpus(self) -> None:
        """Once a second, read the GPUs. Beside `_watch`, as NVML may never return if a GPU has failed."""
        read = await asyncio.to_thread(gpu_reader)
        while self._dead is None:
            self._gpus = await asyncio.to_thread(read)
            await asyncio.sleep(WINDOW)

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
            reading=self._prefetch.reading,
            rendering=self._prefetch.waiting,
            ready=len(self._prefetch.ready),
            decode_share=decode / (decode + rendering) if decode else 0.0,
        )


def node_bytes() -> float:
    """Memory of this machine; infinite if psutil is not installed."""
    try:
        import psutil
    except ImportError:
        return float("inf")
    return float(psutil.virtual_memory().total)


def host_bytes() -> int:
    """Memory of this process and its children, without shared memory (weights, Ray's objects)."""
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
