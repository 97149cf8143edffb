"""Killed at any write, in the middle of it or between two: after the rerun nothing is missing, twice, or different."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from local_cluster import CountingEngine, Crashed, Crashes, LocalTransport
from samples import jpeg, sample, write_tar
from stored_answers import stored_answers

from recaption import config
from recaption.build.shard import BuildSpec, finish_shard
from recaption.engine.base import Completion, Rendered, Request
from recaption.errors import EngineDead
from recaption.generate.chunks import Job
from recaption.generate.driver import Callbacks, ModelPass
from recaption.generate.plan import make_plan
from recaption.io.store import LocalStore
from recaption.output.answers import compact
from recaption.output.lease import _OWN as lease_of_this_process
from recaption.output.lease import claim
from recaption.source import open_source
from recaption.text import sha256 as text_sha256

IMAGES, ENGINES, CAPACITY = 40, 2, 8


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards; among their images a broken one and one that is there twice."""
    folder = tmp_path_factory.mktemp("crashes") / "source"
    for shard in range(2):
        images = [jpeg(100 * shard + i) for i in range(IMAGES // 2)]
        images[3], images[7] = b"<html>%d" % shard, images[5]
        samples = [sample(f"{shard}{i:04d}", data, f"text {i}") for i, data in enumerate(images)]
        write_tar(folder / f"{shard}.tar", samples)
    return folder


def small_steps(patch: pytest.MonkeyPatch) -> None:
    """Many chunks and many parts from few images; durability costs time and is not what is looked at."""
    patch.setattr("recaption.generate.chunks.CHUNK_SIZE", 6)
    patch.setattr("recaption.generate.part_writer.FLUSH_COUNT", 3)
    patch.setattr("recaption.generate.part_writer.GATHER_SECONDS", 0.02)
    patch.setattr("os.fsync", lambda descriptor: None)
    patch.setattr("recaption.output.lease.Lease.start", lambda lease: None)  # no beat between the writes


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    small_steps(monkeypatch)
    yield


def staged(source: Path, out: Path) -> config.Pipeline:
    """Three stages, two models: the sentences of `long` are verified by a judge, and the unsupported ones repaired."""
    data = pipeline(source, out).model_dump(mode="json")
    data["models"]["judge"] = dict(data["models"]["fake"])
    data["generate"] = [
        {"id": "long", "model": "fake", "prompt": "describe_long"},
        {"id": "check", "model": "judge", "task": "verify", "over": "long", "which": "all"},
        {"id": "repaired", "model": "fake", "task": "repair", "over": "check"},
    ]
    return config.validate(data)


def one_pass(source: Path, out: Path) -> config.Pipeline:
    """The same three stages with one model: all of an image's questions are asked while it is in the engine."""
    data = staged(source, out).model_dump(mode="json")
    for generation in data["generate"]:
        generation["model"] = "fake"
    del data["models"]["judge"]
    return config.validate(data)


def pipeline(source: Path, out: Path) -> config.Pipeline:
    return config.validate(
        {
            "name": "test",
            "source": {"path": f"{source}/*.tar"},
            "models": {"fake": {"engine": "fake_engine:FakeEngine", "model": "scene", "replicas": ENGINES}},
            "generate": [
                {"id": "long", "model": "fake", "prompt": "describe_long"},
                {"id": "short", "model": "fake", "prompt": "describe_short"},
            ],
            "annotate": {"splitter": "flair_regex"},
            "output": {"path": str(out), "format": "webdataset"},
        }
    )


def run(settings: config.Pipeline, crashes: Crashes, seed: int, victim: int | None = None) -> list[tuple[str, str]]:
    """Generate, compact and write every shard. Returns what the engines were asked; raises Crashed.

    `victim`: an actor that is killed after so many requests of all.
    """
    asked: list[tuple[str, str]] = []
    plan, store = make_plan(settings), LocalStore(settings.output.path)
    lease = claim(store)
    transport = LocalTransport(lambda n: CountingEngine(asked, CAPACITY, seed + n), crashes)
    source = open_source(settings.source)
    job = Job(source=source, store_url=store.url, epoch=lease.epoch)
    spec = BuildSpec(
        pipeline=settings,
        questions=plan.questions,
        source=source,
        store_url=store.url,
        excluded=frozenset(),
        prefix="builds/b",
        format="webdataset",
    )

    def report(progress: Any) -> None:
        nonlocal victim
        if victim is not None and len(asked) >= victim and transport._hosts:
            victim = None
            transport.kill(min(transport._hosts))

    try:
        for model in plan.models:
            for listing in ModelPass(model, job, transport=transport, callbacks=Callbacks(report=report)).run():
                if model is plan.models[-1]:
                    finish_shard(spec, listing.shard, listing.images, None)
                else:
                    for question in model.questions:
                        compact(store, question, listing.shard.id)
        lease.release()
    except Crashed:
        raise Crashed(asked) from None
    finally:
        lease_of_this_process.discard(lease._token)  # a process that is gone holds nothing
        transport.close()
    return asked


def files(out: Path, *folders: str) -> dict[str, bytes]:
    """What lies in an output and counts; a kill may leave temporary files."""
    found = [path for folder in folders for path in (out / folder).rglob("*") if path.is_file()]
    return {str(p.relative_to(out)): p.read_bytes() for p in found if not p.name.startswith(".tmp-")}


def request_sha256(prompt: str) -> str:
    """The identity of a request of this file's generations, as `tasks.question` has it."""
    choices = '\0choices ["yes","no"]' if prompt.startswith("Is this true") else ""
    return text_sha256(prompt + choices)


def answered(out: Path) -> set[tuple[str, str]]:
    """(image, request) of every answer in the store, parts and all."""
    return {(sha256, request) for _, sha256, request in stored_answers(out)}


Undisturbed = tuple[dict[str, bytes], int, int]


def undisturbed_run(make: Callable[[Path, Path], config.Pipeline], source: Path, out: Path) -> Undisturbed:
    """The files of a run that nothing befell, how often it wrote, and what it asked."""
    with pytest.MonkeyPatch.context() as patch:
        small_steps(patch)
        crashes = Crashes(patch)
        asked = run(make(source, out), crashes, 0)
    return files(out, "answers", "rejects", "builds"), crashes.count, len(asked)


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return undisturbed_run(pipeline, source, tmp_path_factory.mktemp("undisturbed"))


STAGES = {"two models": staged, "one pass": one_pass}


@pytest.fixture(scope="module", params=list(STAGES))
def stages(
    request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Callable[[Path, Path], config.Pipeline], Undisturbed]:
    make = STAGES[request.param]
    return make, undisturbed_run(make, source, tmp_path_factory.mktemp("undisturbed-stages"))


def check(
    make: Callable[[Path, Path], config.Pipeline],
    source: Path,
    out: Path,
    seed: int,
    undisturbed: Undisturbed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected, writes, once = undisturbed
    rng = random.Random(seed)

    def disturbed(at: int | None, victim: int | None) -> None:
        before = answered(out)
        with monkeypatch.context() as patch:
            crashes = Crashes(patch, at, seed)
            try:
                asked = run(make(source, out), crashes, rng.randrange(1000), victim)
            except Crashed as crash:
                asked = crash.args[0] if crash.args else []  # it crashed before there was an engine
        asked = [(sha256, request_sha256(prompt)) for sha256, prompt in asked]
        assert not before & set(asked), "what lies in the store is paid for"
        assert victim is not None or len(asked) == len(set(asked)), "nothing was lost, so nothing is asked twice"

    for _ in range(rng.choice((1, 1, 2, 3))):
        disturbed(rng.randint(1, writes), rng.randint(1, once) if rng.random() < 0.3 else None)
    disturbed(None, None)
    assert files(out, "answers", "rejects", "builds") == expected


@pytest.mark.parametrize("seed", range(44))
def test_a_run_that_crashes_at_any_write_has_the_same_result(
    source: Path, tmp_path: Path, seed: int, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(pipeline, source, tmp_path, seed, undisturbed, monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_hundreds_of_crashes(
    source: Path, tmp_path: Path, seed: int, undisturbed: Undisturbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(pipeline, source, tmp_path, seed, undisturbed, monkeypatch)


@pytest.mark.parametrize("seed", range(5))
def test_a_crash_between_stages_loses_no_answer_and_asks_for_none_twice(
    source: Path,
    tmp_path: Path,
    seed: int,
    stages: tuple[Callable[[Path, Path], config.Pipeline], Undisturbed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, undisturbed = stages
    assert any("/repaired" in name or "repaired-" in name for name in undisturbed[0]), "something is repaired"
    check(make, source, tmp_path, seed, undisturbed, monkeypatch)


class DyingEngine(CountingEngine):
    """Of the engines that share `asked` and `died`, the one that gets the `at`-th request dies."""

    def __init__(self, asked: list[tuple[str, str]], seed: int, at: int, died: list[CountingEngine]) -> None:
        super().__init__(asked, CAPACITY, seed)
        self._at, self._died = at, died

    async def generate(self, work: Request | Rendered) -> Completion:
        if not self._died and len(self.asked) >= self._at:
            self._died.append(self)
        if self in self._died:
            raise EngineDead("out of memory")
        return await super().generate(work)


@pytest.mark.parametrize("at", [3, 11, 23, 38, 51, 64, 80])
def test_the_sums_hold_when_an_engine_dies_between_stages(source: Path, tmp_path: Path, at: int) -> None:
    """Some images are complete by then without the actor knowing it: they have nothing to repair."""
    settings, asked, died = one_pass(source, tmp_path), list[tuple[str, str]](), list[CountingEngine]()
    (model,), store = make_plan(settings).models, LocalStore(settings.output.path)
    job = Job(source=open_source(settings.source), store_url=store.url, epoch=1)
    transport = LocalTransport(lambda n: DyingEngine(asked, n, at, died))
    try:
        work = ModelPass(model, job, transport=transport)
        assert len(list(work.run())) == 2, "run raises DatasetError if a sum does not hold"
    finally:
        transport.close()
    repaired = work.progress.generations["repaired"]
    assert work.progress.engine_deaths == 1 and repaired.done == repaired.total


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2000, 2100))
def test_hundreds_of_crashes_between_stages(
    source: Path,
    tmp_path: Path,
    seed: int,
    stages: tuple[Callable[[Path, Path], config.Pipeline], Undisturbed],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, undisturbed = stages
    check(make, source, tmp_path, seed, undisturbed, monkeypatch)
