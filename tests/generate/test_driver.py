"""The driver of a pass: real actors in one process, and thousands of chunks on a simulated cluster."""

from __future__ import annotations

import asyncio
import hashlib
import platform
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from local_cluster import CountingEngine, LocalTransport
from samples import jpeg
from sim_cluster import SimTransport
from sim_cluster import job as sim_job
from sim_cluster import plan as sim_plan

from recaption import config
from recaption.engine.base import Completion, Rendered, Request
from recaption.errors import EngineDead, UserError
from recaption.generate.actor import NAMED, ActorSpec, Poll
from recaption.generate.chunks import CHUNK_SIZE, Job
from recaption.generate.driver import Callbacks, ModelPass, list_ahead
from recaption.generate.plan import make_plan
from recaption.generate.progress import PassProgress
from recaption.generate.ray_tasks import ActorLost
from recaption.generate.transport import Reply
from recaption.io.store import open_store
from recaption.output.lease import claim
from recaption.source import open_source

POISON = hashlib.sha256(jpeg(5)).hexdigest()
REFUSED = hashlib.sha256(jpeg(7)).hexdigest()


class Moody(CountingEngine):
    """Dies of one image, will not speak of another (or of any), and answers the rest."""

    def __init__(self, *, refuses_all: bool = False) -> None:
        super().__init__([], capacity=4, seed=0)
        self._refuses_all = refuses_all

    async def generate(self, work: Request | Rendered) -> Completion:
        assert isinstance(work, Request)
        await asyncio.sleep(0.002)
        if work.sha256 == POISON and not self._refuses_all:
            raise EngineDead("CUDA error")
        refused = self._refuses_all or work.sha256 == REFUSED
        text = "I'm sorry, but I can't help with that." if refused else "A cup."
        return Completion(text=text, finish_reason="stop", prompt_tokens=3, output_tokens=4)


LONG = {"id": "long", "model": "m", "prompt": "describe_long", "attempts": 1}


def told(
    source: Path,
    out: Path,
    engine: Callable[[int], Any],
    *generate: dict[str, Any],
    report: Callable[[PassProgress], object] = lambda progress: None,
    answer: bool = True,
) -> list[dict[str, Any]]:
    """The events of a pass over `source`."""
    settings = config.validate(
        {
            "name": "test",
            "source": {"path": f"{source}/*.tar"},
            "models": {"m": {"engine": "fake_engine:FakeEngine", "model": "scene", "replicas": 1}},
            "generate": generate or [LONG],
            "output": {"path": str(out)},
        }
    )
    store, found = open_store(str(out)), list[dict[str, Any]]()
    lease, transport = claim(store), LocalTransport(engine)
    job = Job(source=open_source(settings.source), store_url=store.url, epoch=lease.epoch)

    def emit(event: str, level: str = "info", **fields: Any) -> None:
        found.append({"event": event, "level": level, **fields})

    try:
        model, callbacks = make_plan(settings).models[0], Callbacks(report=report, emit=emit)
        for _ in ModelPass(model, job, callbacks=callbacks, answer=answer, transport=transport).run():
            pass
    finally:
        lease.release()
        transport.close()
    assert all(event["model"] == "m" for event in found)
    return found


def of(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


def test_images_that_crash_engines_or_are_refused_are_logged(make_source: Callable[..., Path], tmp_path: Path) -> None:
    events = told(make_source(shards=2, per_shard=12), tmp_path / "out", lambda number: Moody())
    assert [(e["shard"], e["images"], e["usable"], e["to_ask"]) for e in of(events, "shard_listed")] == [
        ("00000", 12, 12, 12),
        ("00001", 12, 12, 12),
    ]
    deaths = of(events, "engine_died")
    assert len(deaths) >= 4 and all(e["level"] == "error" and e["detail"] == "CUDA error" for e in deaths)
    assert all(("00000", "000000005") in e["suspects"] for e in deaths), "shard and key of what was in it"
    assert deaths[-1]["suspects"] == [("00000", "000000005")], "alone, at last"
    assert len({e["engine"] for e in of(events, "engine_started")}) == len(deaths) + 1
    (quarantine, *_) = of(events, "quarantined")
    assert quarantine["shard"] == "00000" and quarantine["images"] >= 1
    rejects = {(e["shard"], e["key"], e["reason"], e["generation"]) for e in of(events, "image_rejected")}
    assert ("00000", "000000005", "poison", "long") in rejects
    assert sorted(e["shard"] for e in of(events, "shard_answered")) == ["00000", "00001"]


def test_of_many_rejects_some_are_logged_and_all_are_counted(make_source: Callable[..., Path], tmp_path: Path) -> None:
    seen: list[PassProgress] = []
    source = make_source(shards=1, per_shard=150)
    events = told(source, tmp_path / "out", lambda number: Moody(refuses_all=True), report=seen.append)
    (engine,) = seen[-1].fleet
    assert (engine.engine, engine.node, engine.in_flight, engine.gpus) == (0, platform.node(), 0, ())
    assert sum(seen[-1].latency[engine.node, "engine"].counts) == 150 and engine.output_tokens == 4 * 150
    named = of(events, "image_rejected")
    assert NAMED <= len(named) <= 150 and {e["reason"] for e in named} == {"refusal"}
    assert len({e["key"] for e in named}) == len(named)
    assert len(named) + sum(e["count"] for e in of(events, "rejects_not_named")) == 150


# units


@pytest.fixture
def stages(tmp_path: Path) -> list[dict[str, Any]]:
    """A generation that gives words, and one that asks about each word."""
    for name, text in (("words", "List words."), ("check", "Is {{ word }} there?")):
        (tmp_path / f"{name}.md").write_text(f"---\nid: {name}\nversion: 1\n---\n{text}\n")
    words = LONG | {"id": "words", "prompt": str(tmp_path / "words.md"), "task": "toy_tasks:Words"}
    check = LONG | {"id": "check", "prompt": str(tmp_path / "check.md"), "task": "toy_tasks:EachWord", "over": "words"}
    return [words, check]


class DiesOfAWord(Moody):
    """Dies of a question about a word of one image."""

    async def generate(self, work: Request | Rendered) -> Completion:
        assert isinstance(work, Request)
        if "Is" not in work.prompt:
            return Completion(text="cat dog", finish_reason="stop", prompt_tokens=3, output_tokens=4)
        return await super().generate(work)


def test_the_sums_hold_with_units_whose_image_crashes_engines(
    make_source: Callable[..., Path], tmp_path: Path, stages: list[dict[str, Any]]
) -> None:
    last: list[PassProgress] = []
    source, out = make_source(shards=1, per_shard=8), tmp_path / "out"
    events = told(source, out, lambda number: DiesOfAWord(), *stages, report=lambda p: last.append(p))
    rejects = [(e["key"], e["reason"], e["generation"]) for e in of(events, "image_rejected")]
    assert rejects.count(("000000005", "poison", "check")) == 2
    done = last[-1].generations
    assert (done["words"].answers, done["words"].rejected) == (8, 0)
    assert (done["check"].finished, done["check"].skipped, done["check"].done) == (8, 0, 8)
    assert (done["check"].answers, done["check"].rejects) == (14, {"poison": 2})


def test_a_build_needs_no_engine_for_units_without_an_answer(
    make_source: Callable[..., Path], tmp_path: Path, stages: list[dict[str, Any]]
) -> None:
    source, out = make_source(shards=1, per_shard=3), tmp_path / "out"

    def none(number: int) -> Any:
        raise AssertionError("an engine is started")

    with pytest.raises(UserError, match=r"3 answers are missing in shard 00000, and a build uses no model.*--limit N"):
        told(source, out, none, *stages, answer=False)
    told(source, out, lambda number: DiesOfAWord(), stages[0])
    last: list[PassProgress] = []
    told(source, out, none, *stages, answer=False, report=lambda p: last.append(p))
    assert last[-1].generations["check"].done == 0


class OneBloats(SimTransport):
    """Engine 0 uses too much memory from its first poll on."""

    def _poll(self, engine: Any) -> Poll:
        return replace(super()._poll(engine), bloated=engine is self.engines.get(0))


@pytest.mark.parametrize(("transport", "recycled"), [(SimTransport, []), (OneBloats, [0])])
def test_each_request_is_answered_once_and_an_engine_that_uses_too_much_memory_is_replaced(
    transport: type[SimTransport], recycled: list[int]
) -> None:
    found, progress = list[dict[str, Any]](), list[PassProgress]()

    def emit(event: str, level: str = "info", **fields: Any) -> None:
        found.append({"event": event, **fields})

    engines, shards, chunks = 8, 24, 20
    work = ModelPass(
        sim_plan(),
        sim_job(shards),
        transport=transport(engines, chunks),
        callbacks=Callbacks(emit=emit, report=progress.append),
    )
    assert sorted(listing.shard.id for listing in work.run()) == [f"{number:06d}" for number in range(shards)]
    last = progress[-1]
    images = shards * chunks * CHUNK_SIZE
    assert (last.phase, last.images, last.engines, last.engine_deaths) == ("done", images, engines, 0)
    assert last.generations["long"].answers == last.generations["long"].total == images
    assert [each["engine"] for each in of(found, "engine_recycled")] == recycled
    assert len(of(found, "engine_started")) == engines + len(recycled)
    assert not work.scheduler.engines, "all records are dropped at the end"


class OneIsSlow(SimTransport):
    """Engine 0 starts first and takes 200 s per request."""

    dies = False
    """Whether engine 0 dies once the others are gone."""

    def spawn(self, spec: ActorSpec, *, cpus: float, gpus: int) -> int:
        number = super().spawn(spec, cpus=cpus, gpus=gpus)
        if number == 0:
            self.engines[number].latency = 200.0
        return number

    def call(self, actor: int, method: str, *args: Any) -> int:
        if method == "start" and actor == 0:
            return self._later(10.0, lambda: (self._capacity, {}))
        if method == "poll" and self.dies and list(self.engines) == [0]:
            self.calls, ticket = self.calls + 1, next(self._tickets)
            self._push(self.clock, lambda: Reply(ticket=ticket, error=ActorLost("gone")))
            return ticket
        return super().call(actor, method, *args)


@pytest.mark.parametrize("dies", [False, True])
def test_engines_are_released_while_the_last_requests_are_in_another_one(dies: bool) -> None:
    found, progress, wanted = list[str](), list[PassProgress](), list[int]()

    def emit(event: str, level: str = "info", **fields: Any) -> None:
        found.append(event)

    engines, transport = 8, OneIsSlow(8, 6)
    transport.dies = dies
    work = ModelPass(
        sim_plan(),
        sim_job(1),
        transport=transport,
        callbacks=Callbacks(emit=emit, report=progress.append, released=wanted.append),
    )
    assert len(list(work.run())) == 1
    last = progress[-1]
    assert last.generations["long"].answers == last.generations["long"].total == 6 * CHUNK_SIZE
    released, started = found.count("engine_released"), found.count("engine_started") - dies
    assert released == engines - 1 and wanted[-1] == 1
    assert 1 < started < engines, "some were released before they had started"
    assert (last.engines, last.engines_released, last.engine_deaths) == (1, started - 1, int(dies))
    assert last.gpu_seconds < transport.clock + engines * 80


class GpusJoinLater(SimTransport):
    """The nodes with GPUs join after ten minutes; an engine on GPUs starts then."""

    JOIN, START = 600.0, 60.0  # START: seconds until the engine is ready

    def gpus(self) -> list[int]:
        return [0, *(super().gpus() if self.clock >= self.JOIN else [])]

    def call(self, actor: int, method: str, *args: Any) -> int:
        if method == "start" and self.clock < self.JOIN:
            return self._later(self.JOIN + self.START - self.clock, lambda: (self._capacity, {}))
        return super().call(actor, method, *args)


def run_that_waits(transport: GpusJoinLater, callbacks: Callbacks) -> None:
    """Run a pass of one shard that waits for nodes with GPUs."""
    work = ModelPass(sim_plan(), sim_job(1), transport=transport, callbacks=callbacks, expects_gpus=True)
    assert len(list(work.run())) == 1


def test_a_run_that_waits_for_gpu_nodes_says_so_and_counts_no_gpu_time() -> None:
    found, progress = list[dict[str, Any]](), list[PassProgress]()

    def emit(event: str, level: str = "info", **fields: Any) -> None:
        found.append({"event": event, "level": level, **fields})

    transport = GpusJoinLater(4, 2)
    run_that_waits(transport, Callbacks(emit=emit, report=progress.append))
    (waiting,), (available,) = of(found, "waiting_for_gpus"), of(found, "gpus_available")
    assert waiting == {"event": "waiting_for_gpus", "level": "warning", "model": "m", "needed": 1, "nodes": [0]}
    assert available["seconds"] == pytest.approx(transport.JOIN, abs=5)
    names = [each["event"] for each in found]
    assert names.index("waiting_for_gpus") < names.index("gpus_available") < names.index("engine_started")
    waits = [each.gpu_wait_seconds for each in progress if each.waits_for_gpus]
    assert max(waits) == pytest.approx(transport.JOIN, abs=5) and progress[-1].gpu_wait_seconds == 0
    assert progress[-1].gpu_seconds < 4 * (transport.clock - transport.JOIN + 5), "waiting costs nothing"


def test_an_engine_that_starts_at_once_ends_the_wait_although_it_takes_all_work() -> None:
    """No work is left to start engines for, so that the nodes are not read again."""
    found, progress = list[str](), list[PassProgress]()

    def emit(event: str, level: str = "info", **fields: Any) -> None:
        found.append(event)

    transport = GpusJoinLater(1, 1)
    transport.START = 0.1
    run_that_waits(transport, Callbacks(emit=emit, report=progress.append))
    assert found.index("waiting_for_gpus") < found.index("gpus_available") < found.index("engine_started")
    assert not any(each.waits_for_gpus for each in progress if each.phase == "generating")
    assert progress[-1].gpu_seconds >= progress[-1].seconds > 0


def test_listing_takes_as_many_shards_at_a_time_as_the_cluster_has_room_for() -> None:
    assert [list_ahead(cpus) for cpus in ([], [2], [16], [64], [128] * 8, [128] * 64)] == [4, 4, 4, 16, 128, 256]
    transport, shards = SimTransport(64, 0), 2_000  # complete shards: their listings have no chunks
    work = ModelPass(sim_plan(), sim_job(shards), transport=transport)
    assert len(list(work.run())) == work.progress.shards == shards
    assert 0 < work.progress.listing_seconds <= transport.clock
    assert transport.clock * 20_000 / shards < 180
    assert not transport.engines, "no engine was started"
