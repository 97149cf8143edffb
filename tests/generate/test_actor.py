"""The actor without Ray: bounds, flushes, drains, and what it does after another one died."""

from __future__ import annotations

import asyncio
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import toy_tasks
from samples import damaged_png, jpeg, sample, write_tar

from recaption import config
from recaption.engine.base import Completion, EngineSpec, Gauge, Rendered, RendererSpec, Request
from recaption.errors import ConfigError, EngineDead, ImageError, Interrupted, RequestError, ShardError, StoreError
from recaption.generate.actor import ActorSpec, EngineHost
from recaption.generate.chunks import Chunk, Job, list_shard, recheck
from recaption.generate.counters import Counters
from recaption.generate.engine_state import Assignment
from recaption.generate.render import RenderWorker, Result, WorkerLost
from recaption.io.store import LocalStore
from recaption.output import answers as parts
from recaption.output.index import load_index
from recaption.output.units import ShardAnswers
from recaption.prompt import Prompt, load
from recaption.source import open_source
from recaption.tasks.question import Question
from recaption.types import Generation, Image, Reject, Sampling


class Engine:
    """Counts what is in flight; fails when told to."""

    capacity = 8

    def __init__(self, fail_at: int | None = None) -> None:
        self.now = self.most = self.asked = 0
        self._fail_at = fail_at

    def renderer(self) -> None:
        return None

    async def start(self) -> None:
        return None

    async def generate(self, work: Request | Rendered) -> Completion:
        assert isinstance(work, Request)
        self.asked += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0.002)
            if self._fail_at is not None and self.asked >= self._fail_at:
                raise EngineDead("out of memory")
            return Completion(text=f"About {work.sha256[:8]}.", finish_reason="stop", prompt_tokens=1, output_tokens=2)
        finally:
            self.now -= 1

    async def stop(self) -> None:
        return None

    def gauge(self) -> None:
        return None

    def provenance(self) -> dict[str, str]:
        return {}


def question(name: str) -> Question:
    generation = Generation(
        id=name, model="m", granularity="long", fingerprint=name * 4, prompt=name, sampling=Sampling(max_tokens=8)
    )
    return Question(generation=generation, prompt=load(f"describe_{name}"), attempts=1)


@pytest.fixture
def spec(make_source: Callable[..., Path], tmp_path: Path) -> ActorSpec:
    source = open_source(config.Source(path=f"{make_source(shards=1, per_shard=150)}/*.tar"))
    return ActorSpec(
        engine=EngineSpec(engine="x:Y", model="m"),
        questions=(question("long"), question("short")),
        source=source,
        store_url=str(tmp_path / "out"),
        epoch=1,
        actor=0,
    )


def chunk_of(spec: ActorSpec):  # type: ignore[no-untyped-def]
    shard = next(iter(spec.source.shards()))
    return list_shard(LocalStore(spec.store_url), spec.source, shard, spec.questions, frozenset()).chunks


def assignment(chunk: Chunk, actor: int = 0, id: int = 0) -> Assignment:
    return Assignment(id=id, actor=actor, chunk=chunk)


def stored(spec: ActorSpec, name: str) -> list[int]:
    shard = next(iter(spec.source.shards()))
    store = LocalStore(spec.store_url)
    wanted = next(q for q in spec.questions if q.id == name)
    folder = f"answers/{wanted.folder}/.parts/{shard.id}"
    rows = [a.row for path in store.list(folder) for a in parts.read_answers(store, path)]
    assert len(rows) == len(set(rows)), f"{shard.id} has a row twice"
    return sorted(rows)


def test_a_chunk_is_answered_within_the_limits_of_the_engine(spec: ActorSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recaption.generate.part_writer.FLUSH_SECONDS", 3600.0)  # parts are put for their size only
    engine = Engine()

    async def work() -> None:
        host = EngineHost(spec, engine)
        assert (await host.start())[0] == 8
        (chunk,) = chunk_of(spec)
        await host.run_chunk(assignment(chunk))
        poll = await host.poll()
        assert poll.counters.answers == {"long": 150, "short": 150}
        assert (poll.in_flight, poll.open, poll.node) == (0, {}, platform.node())
        took = {stage: sum(histogram.counts) for stage, histogram in poll.meter.latency.items()}
        assert took.keys() == {"read", "engine", "put"}
        assert took["engine"] == 300 and took["read"] == 10 and 2 <= took["put"] <= 6, "requests, batches, parts"

    asyncio.run(work())
    assert engine.most == 8
    assert stored(spec, "long") == stored(spec, "short") == list(range(150))
    assert chunk_of(spec) == ()


def test_an_engine_without_renderers_gets_no_undecodable_images(spec: ActorSpec, tmp_path: Path) -> None:
    """Such an engine may send a file on as it is: the answer would be paid for, and the build would not take it."""
    write_tar(tmp_path / "other" / "a.tar", [sample("a", jpeg(1)), sample("b", damaged_png()), sample("c", jpeg(2))])
    spec = replace(spec, source=open_source(config.Source(path=f"{tmp_path}/other/*.tar")))
    engine = Engine()

    async def work() -> None:
        host = EngineHost(spec, engine)
        await host.start()
        (chunk,) = chunk_of(spec)
        assert chunk.requests == 6
        await host.run_chunk(assignment(chunk))
        poll = await host.poll()
        assert poll.counters.answers == {"long": 2, "short": 2}
        assert poll.counters.rejects == {("long", "undecodable"): 1, ("short", "undecodable"): 1}
        assert [reject.stage for reject in poll.rejected] == ["decode", "decode"]

    asyncio.run(work())
    assert engine.asked == 4 and chunk_of(spec) == ()


def test_answers_from_before_a_crash_are_stored_and_not_requested_again(spec: ActorSpec) -> None:
    (chunk,) = chunk_of(spec)
    first, second = Engine(fail_at=200), Engine()

    async def work() -> None:
        host = EngineHost(spec, first)
        await host.start()
        with pytest.raises(EngineDead, match="out of memory") as told:
            await host.run_chunk(assignment(chunk))
        left, _ = recheck(spec.questions, Job(source=spec.source, store_url=spec.store_url, epoch=spec.epoch), chunk, 0)
        assert left.requests <= 300 - 199 + Engine.capacity
        assert told.value.rows and set(told.value.rows) <= set(left.rows()), "those in the engine are suspect"
        after = EngineHost(replace(spec, actor=1), second)
        await after.start()
        await after.run_chunk(assignment(left, actor=1))

    asyncio.run(work())
    assert stored(spec, "long") == stored(spec, "short") == list(range(150))
    assert 300 <= first.asked + second.asked <= 300 + 2 * Engine.capacity


def test_a_drain_takes_no_more_images_and_stores_finished_answers(spec: ActorSpec) -> None:
    engine = Engine()

    async def work() -> None:
        host = EngineHost(spec, engine)
        await host.start()
        (chunk,) = chunk_of(spec)
        running = asyncio.create_task(host.run_chunk(assignment(chunk)))
        while engine.asked < 40:
            await asyncio.sleep(0.001)
        await host.drain(60.0)
        with pytest.raises(Interrupted):
            await running

    asyncio.run(work())
    assert 40 <= engine.asked < 300
    assert len(stored(spec, "long")) + len(stored(spec, "short")) == engine.asked


def test_a_chunk_is_done_once_its_parts_are_stored_in_a_slow_store_too(
    spec: ActorSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The regular flush is cut off when a chunk ends; what it had taken must not be lost or come late."""
    real = parts.put_part

    def slow(*args: Any) -> Any:
        time.sleep(0.15)
        return real(*args)

    monkeypatch.setattr(parts, "put_part", slow)
    monkeypatch.setattr("recaption.generate.part_writer.FLUSH_SECONDS", 0.01)

    async def work() -> None:
        host = EngineHost(spec, Engine())
        await host.start()
        (chunk,) = chunk_of(spec)
        await host.run_chunk(assignment(chunk))

    asyncio.run(work())
    assert stored(spec, "long") == stored(spec, "short") == list(range(150))


def test_a_failed_put_raises_and_its_answers_stay_for_the_next_one(
    spec: ActorSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = parts.put_part, iter([True])

    def flaky(*args: Any) -> Any:
        if next(failures, False):
            raise StoreError("No space left on device")
        return real(*args)

    monkeypatch.setattr(parts, "put_part", flaky)

    async def work() -> None:
        host = EngineHost(spec, engine)
        await host.start()
        (chunk,) = chunk_of(spec)
        with pytest.raises(StoreError, match="No space left"):
            await host.run_chunk(assignment(chunk))

    engine = Engine()
    asyncio.run(work())
    assert len(stored(spec, "long")) >= 64, "the batch whose put failed was put by the last flush"


def test_an_engine_that_fails_to_start_is_dead_and_a_wrong_setting_is_a_user_error(spec: ActorSpec) -> None:
    class Broken(Engine):
        async def start(self) -> None:
            raise RuntimeError("CUDA driver version is insufficient")

    with pytest.raises(EngineDead, match="did not start: RuntimeError: CUDA driver"):
        asyncio.run(EngineHost(spec, Broken()).start())
    with pytest.raises(ConfigError, match="'x:Y' cannot be imported"):
        asyncio.run(EngineHost(replace(spec, engine=replace(spec.engine, model="scene"))).start())


# what is in the engine


@pytest.mark.parametrize(("capacity", "questions"), [(8, 2), (8, 3), (7, 2), (2, 3), (1, 2)])
def test_requests_in_flight_are_bounded_by_the_capacity_but_one_image_always_fits(
    spec: ActorSpec, capacity: int, questions: int
) -> None:
    engine = Engine()
    engine.capacity = capacity
    third = replace(question("long"), generation=replace(question("long").generation, id="third", fingerprint="t"))
    spec = replace(spec, questions=(*spec.questions, third)[:questions])

    async def work() -> None:
        host = EngineHost(spec, engine)
        await host.start()
        (chunk,) = chunk_of(spec)
        await host.run_chunk(assignment(chunk.only(range(30))))

    asyncio.run(work())
    assert capacity - questions < engine.most <= max(capacity, questions)
    assert engine.asked == 30 * questions


class DiesAtOnce(Engine):
    """Everything in flight fails together once the engine is full."""

    def __init__(self) -> None:
        super().__init__()
        self.full = asyncio.Event()

    async def generate(self, work: Request | Rendered) -> Completion:
        self.asked += 1
        if self.asked == self.capacity:
            self.full.set()
        await self.full.wait()
        raise EngineDead("signal 11")


def test_only_images_in_flight_during_a_crash_are_suspects(spec: ActorSpec) -> None:
    async def work() -> None:
        engine = DiesAtOnce()
        host = EngineHost(spec, engine)
        await host.start()
        (chunk,) = chunk_of(spec)
        first, second = chunk.only(range(3)), chunk.only(range(3, 100))
        ends = await asyncio.gather(
            host.run_chunk(assignment(first, id=1)), host.run_chunk(assignment(second, id=2)), return_exceptions=True
        )
        assert all(isinstance(end, EngineDead) for end in ends)
        assert [end.rows for end in ends if isinstance(end, EngineDead)] == [(0, 1, 2), (3,)]
        assert engine.asked == engine.capacity, "nothing more is asked of a dead engine"
        with pytest.raises(EngineDead) as told:
            await host.run_chunk(assignment(chunk.only([120]), id=3))
        assert told.value.rows == ()
        await host.stop()

    asyncio.run(asyncio.wait_for(work(), 120))


# giving back and draining


def test_rows_that_are_given_back_are_not_requested_and_the_others_are(spec: ActorSpec) -> None:
    engine = Engine()

    async def work() -> None:
        host = EngineHost(spec, engine)
        await host.start()
        (chunk,) = chunk_of(spec)
        running = asyncio.create_task(host.run_chunk(assignment(chunk)))
        while engine.asked < 40:
            await asyncio.sleep(0.001)
        unsettled, not_begun = (await host.poll()).open[0]
        given = await host.give_back(0, 100)
        assert given is not None and given.rows() == list(range(100, 150))
        assert (await host.poll()).open[0] == (unsettled - 100, not_begun - 100)
        assert await host.give_back(99, 100) is None, "another's"
        assert await running == chunk.minus(given)
        assert await host.give_back(0, 100) is None, "it is done"
        assert stored(spec, "long") == stored(spec, "short") == list(range(100))
        assert await host.run_chunk(assignment(given, id=1)) == given

    asyncio.run(asyncio.wait_for(work(), 120))
    assert stored(spec, "long") == stored(spec, "short") == list(range(150))
    assert engine.asked == 300


def test_all_queued_rows_can_be_given_back_one_by_one(spec: ActorSpec) -> None:
    class Waits(Engine):
        async def generate(self, work: Request | Rendered) -> Completion:
            self.asked += 1
            await go.wait()
            return await super().generate(work)

    async def work() -> None:
        nonlocal go
        go = asyncio.Event()
        engine = Waits()
        host = EngineHost(spec, engine)
        await host.start()
        (chunk,) = chunk_of(spec)
        running = asyncio.create_task(host.run_chunk(assignment(chunk)))
        while engine.asked < 8:
            await asyncio.sleep(0.001)
        count = 0
        while (given := await host.give_back(0, 1)) is not None:
            assert given.requests == 2
            count += 1
        assert count == 146
        go.set()
        assert (await running).rows() == [0, 1, 2, 3]

    go = asyncio.Event()
    asyncio.run(asyncio.wait_for(work(), 120))


class Hangs(Engine):
    """Answers the first so many requests, and no more."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self._after = after

    async def generate(self, work: Request | Rendered) -> Completion:
        if self.asked >= self._after:
            self.asked += 1
            await asyncio.Event().wait()
        return await super().generate(work)


def test_a_drain_respects_its_deadline_and_takes_no_more_images(spec: ActorSpec) -> None:
    engine = Hangs(after=20)

    async def work() -> None:
        host = EngineHost(spec, engine)
        await host.start()
        (chunk,) = chunk_of(spec)
        running = asyncio.create_task(host.run_chunk(assignment(chunk)))
        while engine.asked < 28:
            await asyncio.sleep(0.001)
        draining = asyncio.create_task(host.drain(0.1))
        await asyncio.sleep(0)
        assert await host.give_back(0, 10) is None, "all of it is on its way back"
        with pytest.raises(Interrupted):
            await host.run_chunk(assignment(chunk.only([149]), id=1))
        await draining
        with pytest.raises(Interrupted):
            await running
        assert len(stored(spec, "long")) + len(stored(spec, "short")) == 20
        assert engine.asked == 28
        await host.stop()

    asyncio.run(asyncio.wait_for(work(), 120))


# watchdogs


@pytest.fixture
def quick_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recaption.generate.actor.WINDOW", 0.01)


def test_an_engine_without_tokens_while_requests_are_in_flight_is_dead(spec: ActorSpec, quick_watch: None) -> None:
    async def work() -> None:
        host = EngineHost(replace(spec, hang_seconds=0.2), Hangs(after=20))
        await host.start()
        (chunk,) = chunk_of(spec)
        with pytest.raises(EngineDead, match="hangs: no token") as told:
            await host.run_chunk(assignment(chunk))
        assert told.value.rows is not None and 4 <= len(told.value.rows) <= 8
        assert len(stored(spec, "long")) + len(stored(spec, "short")) == 20, "what was paid for is put"

    asyncio.run(asyncio.wait_for(work(), 120))


def test_an_engine_that_bounds_its_requests_is_not_watched(
    spec: ActorSpec, quick_watch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that never answers one image costs that image, not the engine."""
    looks = []
    monkeypatch.setattr("recaption.generate.actor.host_bytes", lambda: looks.append(1) or 0)

    class Silent(Hangs):
        bounds_requests = True

    async def work() -> None:
        engine = Silent(after=0)
        host = EngineHost(replace(spec, hang_seconds=1e-9), engine)
        await host.start()
        (chunk,) = chunk_of(spec)
        running = asyncio.create_task(host.run_chunk(assignment(chunk)))
        while len(looks) < 10 or not host._in_flight:
            await asyncio.sleep(0.001)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
        await host.stop()

    asyncio.run(asyncio.wait_for(work(), 120))


def test_a_slow_engine_that_makes_tokens_is_alive(spec: ActorSpec, quick_watch: None) -> None:
    class Slow(Hangs):
        looks = 0

        def gauge(self) -> Gauge:  # type: ignore[override]
            self.looks += 1
            return Gauge(running=8, waiting=0, least_waiting=0, requests=0, prompt_tokens=0, output_tokens=self.looks)

    async def work() -> None:
        engine = Slow(after=0)
        host = EngineHost(replace(spec, hang_seconds=1e-9), engine)
        await host.start()
        (chunk,) = chunk_of(spec)
        running = asyncio.create_task(host.run_chunk(assignment(chunk)))
        while engine.looks < 10:
            await asyncio.sleep(0.001)
        assert not running.done()
        running.cancel()
        await asyncio.wait([running])
        await host.stop()

    asyncio.run(asyncio.wait_for(work(), 120))


def test_an_engine_does_not_hang_because_its_process_was_stopped_for_an_hour(
    spec: ActorSpec, quick_watch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours, looks = 0, list[int]()
    monkeypatch.setattr("recaption.generate.actor.host_bytes", lambda: looks.append(1) or 0)
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 3600 * hours)
    monkeypatch.setattr("recaption.generate.actor.time", clock)

    class Stopped(Engine):
        async def generate(self, work: Request | Rendered) -> Completion:
            nonlocal hours
            if not hours:
                hours, seen = 1, len(looks)
                while len(looks) < seen + 3:
                    await asyncio.sleep(0.001)
            return await super().generate(work)

    async def work() -> None:
        engine = Stopped()
        engine.capacity = 1
        host = EngineHost(replace(spec, hang_seconds=60.0), engine)
        await host.start()
        (chunk,) = chunk_of(spec)
        await host.run_chunk(assignment(chunk.only(range(4))))
        await host.stop()

    asyncio.run(work())


def test_an_idle_engine_does_not_hang(spec: ActorSpec, quick_watch: None, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr("recaption.generate.actor.host_bytes", lambda: looks.append(1) or 0)

    async def work() -> None:
        host = EngineHost(replace(spec, hang_seconds=1e-9), Engine())
        await host.start()
        while len(looks) < 10:
            await asyncio.sleep(0.001)
        (chunk,) = chunk_of(spec)
        await host.run_chunk(assignment(chunk.only([])))
        await host.stop()

    asyncio.run(asyncio.wait_for(work(), 120))


def test_a_poll_reports_that_a_replica_uses_too_much_memory(
    spec: ActorSpec, quick_watch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 5
    monkeypatch.setattr("recaption.generate.actor.host_bytes", lambda: size)

    async def seen(host: EngineHost, wanted: int) -> bool:
        while (poll := await host.poll()).host_bytes != wanted:
            await asyncio.sleep(0.001)
        return poll.bloated

    async def work() -> None:
        nonlocal size
        host = EngineHost(replace(spec, host_bytes=5), Engine())
        await host.start()
        assert not await seen(host, 5)
        size = 6
        assert await seen(host, 6)
        await host.stop()

    asyncio.run(asyncio.wait_for(work(), 120))


# images that cannot be read


class Unreadable:
    """A source of which some rows cannot be read."""

    def __init__(self, source: Any, rows: set[int]) -> None:
        self._source, self.rows = source, rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def read(self, images: Sequence[Image]) -> Iterator[tuple[Image, bytes | ImageError]]:
        for image, data in self._source.read(images):
            unreadable = ImageError("unreadable", "Input/output error")
            yield image, unreadable if image.row in self.rows else data


def test_an_unreadable_image_is_retried_later_and_finally_rejected(spec: ActorSpec) -> None:
    engine = Engine()
    spec = replace(spec, source=Unreadable(spec.source, {3, 70}))  # type: ignore[arg-type]

    async def work() -> None:
        host = EngineHost(spec, engine)
        await host.start()
        (chunk,) = chunk_of(spec)
        for attempt in range(2):
            with pytest.raises(ShardError, match="Input/output error"):
                await host.run_chunk(Assignment(id=attempt, actor=0, chunk=chunk, attempt=attempt))
            chunk, _ = recheck(
                spec.questions, Job(source=spec.source, store_url=spec.store_url, epoch=spec.epoch), chunk, 0
            )
            assert chunk.rows() == [3, 70], "the others are answered"
        await host.run_chunk(Assignment(id=2, actor=0, chunk=chunk, attempt=2))
        assert (await host.poll()).counters.rejects == {("long", "unreadable"): 2, ("short", "unreadable"): 2}

    asyncio.run(asyncio.wait_for(work(), 120))
    assert engine.asked == 2 * 148
    assert chunk_of(spec) == ()


def test_a_missing_shard_fails_only_its_own_chunks(spec: ActorSpec) -> None:
    class Gone(Unreadable):
        def read(self, images: Sequence[Image]) -> Iterator[tuple[Image, bytes | ImageError]]:
            if images[0].row in self.rows:
                raise ShardError("the file is gone")
            yield from super().read(images)

    spec = replace(spec, source=Gone(spec.source, {50}))  # type: ignore[arg-type]

    async def work() -> None:
        host = EngineHost(spec, Engine())
        await host.start()
        (chunk,) = chunk_of(spec)
        ends = await asyncio.gather(
            *(host.run_chunk(assignment(chunk.only(range(at, at + 50)), id=at)) for at in (0, 50, 100)),
            return_exceptions=True,
        )
        assert [type(end) for end in ends] == [Chunk, ShardError, Chunk]

    asyncio.run(asyncio.wait_for(work(), 120))
    assert stored(spec, "long") == [*range(50), *range(100, 150)]


def test_a_shard_that_changed_after_its_listing_is_not_processed(spec: ActorSpec) -> None:
    async def work() -> None:
        host = EngineHost(spec, Engine())
        await host.start()
        (chunk,) = chunk_of(spec)
        with pytest.raises(ShardError, match="changed while it was being read"):
            await host.run_chunk(assignment(replace(chunk, digest="other")))

    asyncio.run(asyncio.wait_for(work(), 120))


# renderers


class Renderer:
    """Input is the picture's hash, the prompt's length and the share of its pixels."""

    def __init__(self, broken: frozenset[str]) -> None:
        self._broken = broken

    def render(self, request: Request) -> Rendered:
        if request.sha256 in self._broken:
            raise ImageError("truncated", "ends early")
        text = f"{request.sha256[:8]} {len(request.prompt)} {request.pixel_share:g}"
        return Rendered(engine_input=text, sampling=request.sampling, nbytes=len(text), decode_seconds=0.5)


class Recipe:
    def __init__(self, broken: frozenset[str] = frozenset()) -> None:
        self.broken = broken

    def build(self) -> Renderer:
        return Renderer(self.broken)


class Rendering(Engine):
    """Takes rendered input only."""

    def __init__(self, recipe: Recipe, silent: bool = False) -> None:
        super().__init__()
        self.recipe, self.silent = recipe, silent
        self.inputs: list[str] = []

    def renderer(self) -> RendererSpec:  # type: ignore[override]
        return self.recipe

    async def generate(self, work: Request | Rendered) -> Completion:
        assert isinstance(work, Rendered)
        self.inputs.append(work.engine_input)
        self.asked += 1
        await asyncio.sleep(0)
        text = "" if self.silent else work.engine_input
        return Completion(text=text, finish_reason="stop", prompt_tokens=1, output_tokens=2)


class InProcess:
    """A render worker in this process; ends at its `lost`-th batch."""

    alive = 0

    def __init__(self, spec: RendererSpec, lost: int | None = None) -> None:
        self._worker, self._lost = RenderWorker(spec), lost
        InProcess.alive += 1

    async def ready(self) -> None:
        self._worker.ready()

    async def render(self, requests: Sequence[Request]) -> list[Result]:
        await asyncio.sleep(0)
        if self._lost is not None:
            self._lost -= 1
            if self._lost <= 0:
                raise WorkerLost("signal 9")
        return self._worker.render(requests)

    def kill(self) -> None:
        InProcess.alive -= 1


@pytest.fixture
def workers() -> Iterator[type[InProcess]]:
    InProcess.alive = 0
    yield InProcess


def test_images_are_rendered_beside_the_engine_with_all_their_prompts(
    spec: ActorSpec, workers: type[InProcess]
) -> None:
    engine = Rendering(Recipe())

    async def work() -> None:
        host = EngineHost(spec, engine, launch=InProcess)
        await host.start()
        (chunk,) = chunk_of(spec)
        await host.run_chunk(assignment(chunk))
        poll = await host.poll()
        assert (poll.renderers, poll.in_flight, workers.alive) == (1, 0, 1)
        assert poll.meter.counted["decode"] == 300 and poll.meter.stages["decode"] == 150.0
        await host.stop()

    asyncio.run(asyncio.wait_for(work(), 120))
    assert workers.alive == 0
    assert stored(spec, "long") == stored(spec, "short") == list(range(150))
    assert len(set(engine.inputs)) == 300


def test_an_engine_with_renderers_turned_off_takes_requests(spec: ActorSpec, workers: type[InProcess]) -> None:
    class Both(Engine):
        def renderer(self) -> RendererSpec:  # type: ignore[override]
            raise AssertionError("not to be asked for")

    async def work() -> None:
        host = EngineHost(replace(spec, renderers=0), Both(), launch=InProcess)
        await host.start()
        (chunk,) = chunk_of(spec)
        await host.run_chunk(assignment(chunk.only(range(5))))
        assert (await host.poll()).renderers == 0

    asyncio.run(asyncio.wait_for(work(), 120))
    assert stored(spec, "long") == list(range(5))


def test_an_image_that_cannot_be_rendered_is_rejected_without_a_request(
    spec: ActorSpec, workers: type[InProcess]
) -> None:
    (chunk,) = chunk_of(spec)
    first = next(iter(spec.source.index(chunk.shard)))
    engine = Rendering(Recipe(broken=frozenset({first.sha256})))

    async def work() -> None:
        host = EngineHost(spec, engine, launch=InProcess)
        await host.start()
        await host.run_chunk(assignment(chunk))
        assert (await host.poll()).counters.rejects == {("long", "truncated"): 1, ("short", "truncated"): 1}
        await host.stop()

    asyncio.run(asyncio.wait_for(work(), 120))
    assert engine.asked == 298
    assert chunk_of(spec) == ()


def test_a_request_that_cannot_be_rendered_is_rejected_after_its_attempts(
    spec: ActorSpec, workers: type[InProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Renderer, request: Request) -> Rendered:
        raise RequestError("the prompt is too long")

    monkeypatch.setattr(Renderer, "render", refuse)
    spec = replace(spec, questions=(replace(question("long"), attempts=3),))

    async def work() -> None:
        host = EngineHost(spec, Rendering(Recipe()), launch=InProcess)
        await host.start()
        (chunk,) = chunk_of(spec)
        await host.run_chunk(assignment(chunk.only(range(4))))
        counters = (await host.poll()).counters
        assert counters.rejects == {("long", "request_error"): 4}
        assert counters.retries == {"long": 8}
        await host.stop()

    asyncio.run(asyncio.wait_for(work(), 120))


def test_later_attempts_are_rendered_again_with_fewer_pixels(spec: ActorSpec, workers: type[InProcess]) -> None:
    engine = Rendering(Recipe(), silent=True)
    spec = replace(spec, questions=(replace(question("long"), attempts=4),))

    async def work() -> None:
        host = EngineHost(spec, engine, launch=InProcess)
        await host.start()
        (chunk,) = chunk_of(spec)
        await host.run_chunk(assignment(chunk.only([0])))
        assert (await host.poll()).counters.degenerate == {"long": 1}
        await host.stop()

    asyncio.run(asyncio.wait_for(work(), 120))
    assert [text.split()[-1] for text in engine.inputs] == ["1", "1", "0.5", "0.25"]


def test_lost_workers_lose_no_answers(spec: ActorSpec, workers: type[InProcess]) -> None:
    lost = iter([3, 1, 5])

    async def work() -> None:
        host = EngineHost(spec, Rendering(Recipe()), launch=lambda recipe: InProcess(recipe, next(lost, None)))
        await host.start()
        (chunk,) = chunk_of(spec)
        await host.run_chunk(assignment(chunk))
        await host.stop()

    asyncio.run(asyncio.wait_for(work(), 120))
    assert workers.alive == 0
    assert stored(spec, "long") == stored(spec, "short") == list(range(150))


def test_without_a_renderer_that_starts_the_engine_is_dead(spec: ActorSpec, workers: type[InProcess]) -> None:
    recipe = Recipe()
    starts = iter([recipe])

    def launch(spec: RendererSpec) -> InProcess:
        if next(starts, None) is None:
            raise RuntimeError("out of memory")
        return InProcess(spec, lost=3)

    async def work() -> None:
        host = EngineHost(spec, Rendering(recipe), launch=launch)
        await host.start()
        (chunk,) = chunk_of(spec)
        with pytest.raises(EngineDead, match="no renderer can be started: out of memory"):
            await host.run_chunk(assignment(chunk))

    asyncio.run(asyncio.wait_for(work(), 120))


def test_an_error_of_the_renderers_at_the_start_is_the_engines(spec: ActorSpec) -> None:
    class Wrong:
        def build(self) -> Renderer:
            raise ConfigError("max_pixels is too small")

    with pytest.raises(ConfigError, match="max_pixels is too small"):
        asyncio.run(EngineHost(spec, Rendering(Wrong()), launch=InProcess).start())  # type: ignore[arg-type]


def test_a_drain_does_not_wait_for_attempts_that_need_a_renderer(spec: ActorSpec, workers: type[InProcess]) -> None:
    engine = Rendering(Recipe(), silent=True)
    spec = replace(spec, questions=tuple(replace(each, attempts=10) for each in spec.questions))

    async def work() -> None:
        host = EngineHost(spec, engine, launch=InProcess)
        await host.start()
        (chunk,) = chunk_of(spec)
        running = asyncio.create_task(host.run_chunk(assignment(chunk)))
        while engine.asked < 60:
            await asyncio.sleep(0)
        await host.drain(3600.0)
        with pytest.raises(Interrupted):
            await running

    asyncio.run(asyncio.wait_for(work(), 120))


# prompts


@pytest.fixture
def fill_ins(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The columns of each prompt that was filled in."""
    calls: list[Any] = []
    real = Prompt._filled_in
    monkeypatch.setattr(Prompt, "_filled_in", lambda self, columns: calls.append(columns) or real(self, columns))
    return calls


@pytest.mark.parametrize("renders", [False, True])
def test_a_prompt_is_filled_in_once_in_the_listing_and_once_in_the_actor(
    spec: ActorSpec, workers: type[InProcess], tmp_path: Path, fill_ins: list[Any], renders: bool
) -> None:
    (tmp_path / "p.md").write_text("---\nid: p\nversion: 1\ngranularity: long\n---\nAbout {{ title }}.\n")
    asked = replace(spec.questions[0], prompt=load(str(tmp_path / "p.md")), attempts=3)
    spec = replace(spec, questions=(asked, spec.questions[1]))
    (chunk,) = chunk_of(spec)
    assert len(fill_ins) == 150, "the prompt without columns was filled in when it was loaded"

    async def work() -> None:
        engine = Rendering(Recipe(), silent=True) if renders else Engine()
        host = EngineHost(spec, engine, launch=InProcess)
        await host.start()
        fill_ins.clear()
        await host.run_chunk(assignment(chunk))
        assert engine.asked == (600 if renders else 300), "all attempts of the ladder, where the answers are empty"
        await host.stop()

    asyncio.run(asyncio.wait_for(work(), 120))
    assert len(fill_ins) == 150


# units

WORDS = toy_tasks.words()
CHECK = toy_tasks.check(WORDS)
BELOW = toy_tasks.question(toy_tasks.Again, "below", "{{ word }} again?", CHECK)
SIDES = toy_tasks.question(toy_tasks.Sides, "sides", "What is on the {{ side }}?")


class Talks(Engine):
    """Answers with two words, or with yes. `prompts` has the prompts of its requests, by image."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: dict[str, list[str]] = {}

    async def generate(self, work: Request | Rendered) -> Completion:
        assert isinstance(work, Request)
        self.prompts.setdefault(work.sha256, []).append(work.prompt)
        await self.before(work)
        text = "cat dog" if work.prompt == "List words." else "yes"
        return Completion(text=text, finish_reason="stop", prompt_tokens=1, output_tokens=2)

    async def before(self, work: Request) -> None:
        """What a test does with a request."""

    @property
    def all_prompts(self) -> list[str]:
        return sorted(prompt for prompts in self.prompts.values() for prompt in prompts)


OF_AN_IMAGE = ["Is cat there?", "Is dog there?", "List words.", "cat again?", "dog again?"]


@pytest.fixture
def staged(spec: ActorSpec, monkeypatch: pytest.MonkeyPatch) -> ActorSpec:
    monkeypatch.setattr("recaption.generate.part_writer.GATHER_SECONDS", 0)
    return replace(spec, questions=(WORDS, CHECK, BELOW))


def images_of(spec: ActorSpec) -> list[Image]:
    return load_index(LocalStore(spec.store_url), spec.source, next(iter(spec.source.shards())))[0]


def settle(spec: ActorSpec, asked: Question, image: Image, *texts: str) -> None:
    """Store an answer for each of the first missing requests about an image."""
    store = LocalStore(spec.store_url)
    missing = ShardAnswers(store, image.shard).of(image).state(asked).missing
    items = [toy_tasks.answer(request, text) for request, text in zip(missing, texts, strict=False)]
    toy_tasks.put(store, asked, *items, shard=image.shard, epoch=0)


async def worked(spec: ActorSpec, engine: Engine, chunk: Chunk) -> Counters:
    """The counts of a chunk that an actor has answered."""
    host = EngineHost(spec, engine)
    await host.start()
    counters = Counters()
    await host.run_chunk(assignment(chunk), counters)
    assert (await host.poll()).in_flight == 0
    await host.stop()
    return counters


def test_an_answer_is_in_the_store_before_a_request_is_made_from_it(staged: ActorSpec) -> None:
    (chunk,) = chunk_of(staged)
    shard = chunk.shard.id
    seen: list[str] = []

    class Looks(Talks):
        async def before(self, work: Request) -> None:
            above = {"Is": WORDS, "ca": CHECK, "do": CHECK}.get(work.prompt[:2])
            if above is not None:
                stored = parts.finished(LocalStore(staged.store_url), above, shard).answers
                assert len([sha256 for sha256, _, _ in stored if sha256 == work.sha256]) == (1 if above is WORDS else 2)
                seen.append(work.prompt)

    engine = Looks()
    counters = asyncio.run(asyncio.wait_for(worked(staged, engine, chunk.only(range(6))), 120))
    assert len(seen) == 6 * 4 and engine.all_prompts == sorted(OF_AN_IMAGE * 6)
    assert counters.answers == {"words": 6, "check": 12, "below": 12}
    assert counters.images == {"check": 6, "below": 6} and counters.skipped.total() == 0
    assert chunk_of(staged)[0].rows() == list(range(6, 150))


def test_a_resumed_chunk_asks_only_the_missing_units(staged: ActorSpec) -> None:
    first, second, third = images_of(staged)[:3]
    settle(staged, WORDS, first, "cat dog")
    settle(staged, CHECK, first, "yes")
    for asked, texts in ((WORDS, ["cat dog"]), (CHECK, ["yes", "yes"]), (BELOW, ["yes"])):
        settle(staged, asked, second, *texts)
    settle(staged, WORDS, third, " ")
    (chunk,) = chunk_of(staged)
    assert third.row not in chunk.rows(), "there is nothing to ask about"
    engine = Talks()
    counters = asyncio.run(asyncio.wait_for(worked(staged, engine, chunk.only([first.row, second.row])), 120))
    assert {sha256: sorted(prompts) for sha256, prompts in engine.prompts.items()} == {
        first.sha256: ["Is dog there?", "cat again?", "dog again?"],
        second.sha256: ["dog again?"],
    }
    assert counters.answers == {"check": 1, "below": 3} and counters.images == {"check": 1, "below": 2}


def test_units_of_a_task_that_reads_nothing_are_resumed_one_by_one(staged: ActorSpec) -> None:
    staged = replace(staged, questions=(SIDES,))
    first = images_of(staged)[0]
    settle(staged, SIDES, first, "a cat")
    engine = Talks()
    counters = asyncio.run(asyncio.wait_for(worked(staged, engine, chunk_of(staged)[0].only(range(3))), 120))
    assert engine.prompts[first.sha256] == ["What is on the right?"] and len(engine.all_prompts) == 5
    assert counters.answers == {"sides": 5} and counters.images == {"sides": 3}


def test_an_undecodable_image_is_rejected_once_and_skipped_by_what_reads_it(staged: ActorSpec, tmp_path: Path) -> None:
    write_tar(tmp_path / "other" / "a.tar", [sample("a", jpeg(1)), sample("b", damaged_png())])
    staged = replace(staged, source=open_source(config.Source(path=f"{tmp_path}/other/*.tar")))
    engine = Talks()
    counters = asyncio.run(asyncio.wait_for(worked(staged, engine, *chunk_of(staged)), 120))
    assert engine.all_prompts == OF_AN_IMAGE
    assert counters.rejects == {("words", "undecodable"): 1}
    assert counters.images == {"check": 2, "below": 2} and counters.skipped == {"check": 1, "below": 1}
    assert chunk_of(staged) == ()


def test_an_image_that_has_become_undecodable_rejects_its_missing_units(staged: ActorSpec, tmp_path: Path) -> None:
    write_tar(tmp_path / "other" / "a.tar", [sample("b", damaged_png())])
    staged = replace(staged, source=open_source(config.Source(path=f"{tmp_path}/other/*.tar")))
    settle(staged, WORDS, images_of(staged)[0], "cat dog")
    counters = asyncio.run(asyncio.wait_for(worked(staged, Talks(), *chunk_of(staged)), 120))
    assert counters.rejects == {("check", "undecodable"): 2}
    assert counters.images == {"check": 1, "below": 1} and +counters.skipped == {"below": 1}
    assert chunk_of(staged) == ()


def test_missing_units_of_an_image_that_has_become_undecodable_are_not_tried_again(
    staged: ActorSpec, tmp_path: Path
) -> None:
    write_tar(tmp_path / "other" / "a.tar", [sample("b", damaged_png())])
    staged = replace(staged, source=open_source(config.Source(path=f"{tmp_path}/other/*.tar")))
    (image,) = images_of(staged)
    settle(staged, WORDS, image, "cat dog owl")
    settle(staged, CHECK, image, "yes")
    counters = asyncio.run(asyncio.wait_for(worked(staged, Talks(), *chunk_of(staged)), 120))
    assert counters.rejects[("check", "undecodable")] == 2
    assert chunk_of(staged) == ()
    found = ShardAnswers(LocalStore(staged.store_url), image.shard).of(image).state(CHECK).found
    assert [item.unit for item in found if isinstance(item, Reject)] == ["words#1", "words#2"]


def test_a_drain_between_stages_keeps_what_is_answered_and_nothing_is_asked_twice(staged: ActorSpec) -> None:
    (chunk,) = chunk_of(staged)
    chunk = chunk.only(range(4))
    reached = asyncio.Event()

    class Reaches(Talks):
        async def before(self, work: Request) -> None:
            if work.prompt == "Is dog there?":
                reached.set()
                await asyncio.sleep(0)

    async def work() -> None:
        host = EngineHost(staged, engine)
        await host.start()
        running = asyncio.create_task(host.run_chunk(assignment(chunk)))
        await reached.wait()
        await host.drain(30.0)
        with pytest.raises(Interrupted):
            await running
        await host.stop()

    engine, after = Reaches(), Talks()
    asyncio.run(asyncio.wait_for(work(), 120))
    assert "cat again?" not in engine.all_prompts
    (left,) = chunk_of(staged)
    asyncio.run(asyncio.wait_for(worked(staged, after, left.only(range(4))), 120))
    assert sorted(engine.all_prompts + after.all_prompts) == sorted(OF_AN_IMAGE * 4)


def test_only_images_with_units_in_flight_are_suspects(staged: ActorSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine dies while another image waits for the store: nothing about it is sent to the dead engine."""
    first, second = images_of(staged)[:2]
    settle(staged, WORDS, first, "cat dog")
    (chunk,) = chunk_of(staged)
    putting, dead = threading.Event(), threading.Event()
    real = parts.put_part

    def put(*args: Any) -> Any:
        putting.set()
        dead.wait()
        return real(*args)

    monkeypatch.setattr(parts, "put_part", put)

    class Dies(Talks):
        async def before(self, work: Request) -> None:
            if work.sha256 == first.sha256:
                await asyncio.to_thread(putting.wait)
                dead.set()
                raise EngineDead("signal 11")

    async def work() -> None:
        engine = Dies()
        host = EngineHost(staged, engine)
        await host.start()
        with pytest.raises(EngineDead) as told:
            await host.run_chunk(assignment(chunk.only([first.row, second.row])))
        assert told.value.rows == (first.row,) and told.value.keys == (first.key,)
        while host._running:
            await asyncio.sleep(0)
        assert engine.prompts == {second.sha256: ["List words."], first.sha256: ["Is cat there?", "Is dog there?"]}
        await host.stop()

    asyncio.run(asyncio.wait_for(work(), 120))


def test_images_without_a_missing_unit_make_room_for_the_next(staged: ActorSpec) -> None:
    """Others have stored the answers since the chunk was cut."""
    images = images_of(staged)[:3]
    for image in images:
        settle(staged, WORDS, image, "cat dog")
    (chunk,) = chunk_of(staged)
    for image in images:
        settle(staged, CHECK, image, "yes", "no")
        settle(staged, BELOW, image, "yes", "no")
    engine = Talks()
    engine.capacity = 1
    counters = asyncio.run(asyncio.wait_for(worked(staged, engine, chunk.only(range(3))), 120))
    assert engine.prompts == {} and counters.images == {"check": 3, "below": 3}


def test_a_shard_of_which_another_actor_stores_answers_is_read_again(staged: ActorSpec) -> None:
    (chunk,) = chunk_of(staged)
    first, second = images_of(staged)[:2]

    async def work() -> None:
        engine = Talks()
        host = EngineHost(staged, engine)
        await host.start()
        await host.run_chunk(assignment(chunk.only([first.row])))
        settle(staged, WORDS, second, "cat owl")
        await host.run_chunk(assignment(recheck(staged.questions, job, chunk, 0)[0].only([second.row]), id=1))
        assert sorted(engine.prompts[second.sha256]) == ["Is cat there?", "Is owl there?", "cat again?", "owl again?"]
        await host.stop()

    job = Job(source=staged.source, store_url=staged.store_url, epoch=staged.epoch)
    asyncio.run(asyncio.wait_for(work(), 120))
