"""A cluster on a fake clock: thousands of engines and hundreds of thousands of chunks in one process, no Ray.

`SimTransport` stands in for `RayTransport` below the real driver, fleet and scheduler. Its engines are a fluid model:
each works off its chunks in the order they came, `capacity / latency` requests a second, and knows what it has not
begun. Everything else (polls, give-backs, listings) takes a round trip.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from recaption.config import Model
from recaption.engine.base import EngineSpec
from recaption.generate.actor import ActorSpec, Ended, Poll
from recaption.generate.chunks import CHUNK_SIZE, Chunk, Job, ShardListing, list_one, recheck
from recaption.generate.counters import Counters
from recaption.generate.engine_state import Assignment
from recaption.generate.plan import ModelPlan
from recaption.generate.transport import Reply
from recaption.generate.utilisation import Meter
from recaption.tasks.question import Question
from recaption.types import Generation, Sampling, SourceShard

ROUND_TRIP = 0.005  # seconds


@dataclass(frozen=True, kw_only=True)
class SimSource:
    """`shards` shards, named only when they are asked for."""

    count: int
    kind: str = "sim"

    def shards(self) -> Iterator[SourceShard]:
        for number in range(self.count):
            yield SourceShard(id=f"{number:06d}", number=number, path=f"{number:06d}.tar")


@dataclass
class _Engine:
    capacity: int
    latency: float
    last: float
    work: OrderedDict[int, list[Any]] = field(default_factory=OrderedDict)  # assignment -> [assignment, left, ticket]
    settled: int = 0
    idle: float = 0.0  # seconds without a full engine, since it started
    version: int = 0


class SimTransport:
    """See `recaption.generate.transport.Transport`."""

    def __init__(self, engines: int, chunks_per_shard: int, *, capacity: int = 256, seed: int = 0) -> None:
        self.calls = 0
        self.clock = 0.0
        self.finished_requests = 0
        self._rng = random.Random(seed)
        self._count, self._capacity, self._chunks = engines, capacity, chunks_per_shard
        self._tickets = itertools.count()
        self._events: list[tuple[float, int, Callable[[], Reply | None]]] = []
        self._order = itertools.count()
        self.engines: dict[int, _Engine] = {}

    def now(self) -> float:
        return self.clock

    def task(self, function: Callable[..., Any], *args: Any) -> int:
        if function is list_one:
            return self._later(0.5, lambda: self._listing(args[2]))
        assert function is recheck, function
        return self._later(0.1, lambda: (args[2], Counters()))

    def spawn(self, spec: ActorSpec, *, cpus: float, gpus: int) -> int:
        self.engines[spec.actor] = _Engine(capacity=self._capacity, latency=self._rng.uniform(4, 8), last=0.0)
        return spec.actor

    def call(self, actor: int, method: str, *args: Any) -> int:
        engine = self.engines[actor]
        if method == "start":

            def start() -> tuple[int, dict[str, str]]:
                engine.last = self.clock
                return engine.capacity, {}

            return self._later(self._rng.uniform(30, 90), start)
        if method == "work_on":
            self._advance(engine)
            self.calls += 1
            ticket = next(self._tickets)
            assignment: Assignment = args[0]
            engine.work[assignment.id] = [assignment.chunk, assignment.chunk.requests, ticket]
            self._expect_next(engine)
            return ticket
        answers = {
            "poll": lambda: self._poll(engine),
            "give_back": lambda: self._give_back(engine, *args),
            "stop": lambda: None,
            "drain": lambda: None,
        }
        return self._later(ROUND_TRIP, answers[method])

    def kill(self, actor: int) -> None:
        self.engines.pop(actor, None)

    def wait(self, timeout: float) -> list[Reply]:
        until = self.clock + timeout
        found: list[Reply] = []
        while self._events and self._events[0][0] <= until:
            at = self._events[0][0]
            if found and at > self.clock:
                break
            self.clock, _, make = heapq.heappop(self._events)
            reply = make()
            if reply is not None:
                found.append(reply)
        if not found:
            self.clock = until
        return found

    def gpus(self) -> list[int]:
        return [8] * (self._count // 8) + ([self._count % 8] if self._count % 8 else [])

    def cpus(self) -> list[int]:
        return [16 * gpus for gpus in self.gpus()]

    def _later(self, seconds: float, value: Callable[[], Any]) -> int:
        self.calls += 1
        ticket = next(self._tickets)
        self._push(self.clock + seconds, lambda: Reply(ticket=ticket, value=value()))
        return ticket

    def _push(self, at: float, make: Callable[[], Reply | None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), make))

    def _listing(self, shard: SourceShard) -> ShardListing:
        full = (1 << CHUNK_SIZE) - 1
        chunks = tuple(
            Chunk(shard=shard, digest="0" * 12, number=i, first=i * CHUNK_SIZE, missing=(full,))
            for i in range(self._chunks)
        )
        images = self._chunks * CHUNK_SIZE
        return ShardListing(
            shard=shard,
            digest="0" * 12,
            images=images,
            usable=images,
            done=(0,),
            duplicates=(0,),
            first_key=None,
            chunks=chunks,
        )

    def _advance(self, engine: _Engine) -> None:
        """Work off what fits into the time since the last look."""
        seconds, engine.last = self.clock - engine.last, self.clock
        waiting = sum(left for _, left, _ in engine.work.values())
        if waiting < engine.capacity:
            engine.idle += seconds
        budget = seconds * engine.capacity / engine.latency
        for entry in engine.work.values():
            taken = min(entry[1], budget)
            entry[1] -= taken
            budget -= taken

    def _expect_next(self, engine: _Engine) -> None:
        """The moment at which the oldest chunk will be done."""
        engine.version += 1
        if not engine.work:
            return
        version, (_, left, _) = engine.version, next(iter(engine.work.values()))

        def due() -> Reply | None:
            if engine.version != version or not engine.work:
                return None
            self._advance(engine)
            number, (chunk, _, ticket) = next(iter(engine.work.items()))
            del engine.work[number]
            engine.settled += chunk.requests
            self.finished_requests += chunk.requests
            self._expect_next(engine)
            counters = Counters()
            counters.answers["long"] = chunk.requests
            return Reply(ticket=ticket, value=Ended(chunk=chunk, counters=counters))

        self._push(self.clock + left * engine.latency / engine.capacity, due)

    def _not_begun(self, engine: _Engine) -> dict[int, tuple[int, int]]:
        self._advance(engine)
        room, found = float(engine.capacity), {}
        for number, (_, left, _) in engine.work.items():
            begun = min(left, room)
            room -= begun
            found[number] = int(left), int(left - begun)
        return found

    def _poll(self, engine: _Engine) -> Poll:
        counters = Counters()
        counters.answers["long"] = engine.settled
        return Poll(
            counters=counters, meter=Meter(), open=self._not_begun(engine), in_flight=0, renderers=0, host_bytes=0
        )

    def _give_back(self, engine: _Engine, number: int, requests: int) -> Chunk | None:
        spare = min(requests, self._not_begun(engine).get(number, (0, 0))[1])
        if not spare:
            return None
        entry = engine.work[number]
        rows = entry[0].rows()[-spare:]
        given = entry[0].only(rows)
        entry[0] = entry[0].minus(given)
        entry[1] = max(0.0, entry[1] - given.requests)
        self._expect_next(engine)
        return given


def plan() -> ModelPlan:
    """One model with one question, whose engines are simulated."""
    generation = Generation(
        id="long", model="m", granularity="long", fingerprint="0" * 16, prompt="p", sampling=Sampling(max_tokens=8)
    )
    question = Question(generation=generation, prompt=None, attempts=1)
    return ModelPlan(
        name="m",
        config=Model(engine="x:Y", model="m"),
        engine=EngineSpec(engine="x:Y", model="m"),
        commit="0",
        questions=(question,),
    )


def job(shards: int) -> Job:
    return Job(source=SimSource(count=shards), store_url="nowhere", epoch=1)  # type: ignore[arg-type]


__all__ = ["SimSource", "SimTransport", "job", "plan"]
