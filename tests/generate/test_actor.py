"""The actor without Ray: bounds, flushes, drains, and what it does after another one died."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recaption import config
from recaption.engine.base import Completion, EngineSpec, Rendered, Request
from recaption.errors import ConfigError, EngineDead, Interrupted, StoreError
from recaption.generate import parts
from recaption.generate.actor import EngineHost
from recaption.generate.chunks import Chunk, list_shard, narrow
from recaption.generate.plan import Question
from recaption.generate.scheduler import Assignment
from recaption.generate.work import HostSpec
from recaption.prompt import load
from recaption.source import open_source
from recaption.store import LocalStore
from recaption.types import Generation, Sampling


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

    async def drain(self, deadline: float) -> None:
        return None

    async def stop(self) -> None:
        return None

    def gauge(self) -> None:
        return None

    def provenance(self) -> dict[str, str]:
        return {}


def question(name: str) -> Question:
    generation = Generation(
        id=name, model="m", kind="long", fingerprint=name * 4, prompt=name, sampling=Sampling(max_tokens=8)
    )
    return Question(generation=generation, prompt=load(f"describe_{name}"), attempts=1)


@pytest.fixture
def spec(make_source: Callable[..., Path], tmp_path: Path) -> HostSpec:
    source = open_source(config.Source(path=f"{make_source(shards=1, per_shard=150)}/*.tar"))
    return HostSpec(
        engine=EngineSpec(engine="x:Y", model="m"),
        questions=(question("long"), question("short")),
        source=source,
        store_url=str(tmp_path / "out"),
        epoch=1,
        actor=0,
    )


def chunk_of(spec: HostSpec):  # type: ignore[no-untyped-def]
    shard = next(iter(spec.source.shards()))
    return list_shard(LocalStore(spec.store_url), spec.source, shard, spec.questions, frozenset()).chunks


def assignment(chunk: Chunk, actor: int = 0, id: int = 0) -> Assignment:
    return Assignment(id=id, actor=actor, chunk=chunk)


def stored(spec: HostSpec, name: str) -> list[int]:
    shard = next(iter(spec.source.shards()))
    store = LocalStore(spec.store_url)
    wanted = next(q for q in spec.questions if q.id == name)
    folder = f"answers/{wanted.folder}/.parts/{shard.id}"
    rows = [a.row for path in store.list(folder) for a in parts.read_answers(store, path)]
    assert len(rows) == len(set(rows)), f"{shard.id} has a row twice"
    return sorted(rows)


def test_a_chunk_is_answered_within_the_bounds(spec: HostSpec) -> None:
    engine = Engine()

    async def work() -> None:
        host = EngineHost(spec, engine)
        assert (await host.start())[0] == 8
        (chunk,) = chunk_of(spec)
        await host.run_chunk(assignment(chunk))
        poll = await host.poll()
        assert poll.counters.answers == {"long": 150, "short": 150}
        assert (poll.in_flight, poll.open) == (0, {})

    asyncio.run(work())
    assert engine.most == 8
    assert stored(spec, "long") == stored(spec, "short") == list(range(150))
    assert chunk_of(spec) == ()


def test_what_was_answered_before_an_engine_died_is_put_and_not_asked_again(spec: HostSpec) -> None:
    (chunk,) = chunk_of(spec)
    first, second = Engine(fail_at=200), Engine()

    async def work() -> None:
        host = EngineHost(spec, first)
        await host.start()
        with pytest.raises(EngineDead, match="out of memory") as told:
            await host.run_chunk(assignment(chunk))
        left = narrow(LocalStore(spec.store_url), spec.source, chunk, spec.questions)
        assert left.requests <= 300 - 199 + Engine.capacity
        assert told.value.rows and set(told.value.rows) <= set(left.rows()), "those in the engine are suspect"
        after = EngineHost(replace(spec, actor=1), second)
        await after.start()
        await after.run_chunk(assignment(left, actor=1))

    asyncio.run(work())
    assert stored(spec, "long") == stored(spec, "short") == list(range(150))
    assert 300 <= first.asked + second.asked <= 300 + 2 * Engine.capacity


def test_a_drain_stops_intake_and_keeps_what_was_paid_for(spec: HostSpec) -> None:
    engine = Engine()

    async def work() -> None:
        host = EngineHost(spec, engine)
        await host.start()
        (chunk,) = chunk_of(spec)
        running = asyncio.create_task(host.run_chunk(assignment(chunk)))
        while engine.asked < 40:
            await asyncio.sleep(0.001)
        await host.drain(5.0)
        with pytest.raises(Interrupted):
            await running

    asyncio.run(work())
    assert 40 <= engine.asked < 300
    assert len(stored(spec, "long")) + len(stored(spec, "short")) == engine.asked


def test_a_chunk_is_done_when_its_parts_lie_however_slow_the_store(
    spec: HostSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The regular flush is cut off when a chunk ends; what it had taken must not be lost or come late."""
    real = parts.put_part

    def slow(*args: Any) -> None:
        time.sleep(0.15)
        real(*args)

    monkeypatch.setattr(parts, "put_part", slow)
    monkeypatch.setattr("recaption.generate.work.FLUSH_SECONDS", 0.01)

    async def work() -> None:
        host = EngineHost(spec, Engine())
        await host.start()
        (chunk,) = chunk_of(spec)
        await host.run_chunk(assignment(chunk))

    asyncio.run(work())
    assert stored(spec, "long") == stored(spec, "short") == list(range(150))


def test_a_put_that_fails_is_said_and_its_answers_stay_for_the_next(
    spec: HostSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = parts.put_part, iter([True])

    def flaky(*args: Any) -> None:
        if next(failures, False):
            raise StoreError("No space left on device")
        real(*args)

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


def test_a_broken_engine_is_dead_and_a_wrong_setting_is_the_users(spec: HostSpec) -> None:
    class Broken(Engine):
        async def start(self) -> None:
            raise RuntimeError("CUDA driver version is insufficient")

    with pytest.raises(EngineDead, match="did not start: RuntimeError: CUDA driver"):
        asyncio.run(EngineHost(spec, Broken()).start())
    with pytest.raises(ConfigError, match="'x:Y' cannot be imported"):
        asyncio.run(EngineHost(spec).start())
