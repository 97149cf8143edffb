"""Killed at any write, in the middle of it or between two: after the rerun nothing is missing, twice, or different."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from local_cluster import CountingEngine, Crashed, Crashes, LocalTransport
from samples import jpeg, sample, write_tar

from recaption import config
from recaption.build.shard import BuildSpec, finish_shard
from recaption.generate.chunks import Job
from recaption.generate.driver import ModelPass
from recaption.generate.plan import make_plan
from recaption.io.store import LocalStore
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
    patch.setattr("os.fsync", lambda descriptor: None)
    patch.setattr("recaption.output.lease.Lease.start", lambda lease: None)  # no beat between the writes


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    small_steps(monkeypatch)
    yield


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
        for listing in ModelPass(plan.models[0], job, transport=transport, report=report).run():
            finish_shard(spec, listing.shard, listing.images, None)
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


def answered(out: Path) -> set[tuple[str, str]]:
    """(image, filled-in prompt) of every answer in the store, parts and all."""
    return {
        (row["sha256"], row["prompt_sha256"])
        for path in (out / "answers").rglob("*.parquet")
        if not path.name.startswith(".tmp-")
        for row in pq.read_table(path).to_pylist()
    }


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], int, int]:
    """The files of a run that nothing befell, how often it wrote, and what it asked."""
    out = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        small_steps(patch)
        crashes = Crashes(patch)
        asked = run(pipeline(source, out), crashes, 0)
    return files(out, "answers", "rejects", "builds"), crashes.count, len(asked)


def check(
    source: Path, out: Path, seed: int, undisturbed: tuple[dict[str, bytes], int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, writes, once = undisturbed
    rng = random.Random(seed)

    def disturbed(at: int | None, victim: int | None) -> None:
        before = answered(out)
        with monkeypatch.context() as patch:
            crashes = Crashes(patch, at, seed)
            try:
                asked = run(pipeline(source, out), crashes, rng.randrange(1000), victim)
            except Crashed as crash:
                asked = crash.args[0] if crash.args else []  # it crashed before there was an engine
        asked = [(sha256, text_sha256(prompt)) for sha256, prompt in asked]
        assert not before & set(asked), "what lies in the store is paid for"
        assert victim is not None or len(asked) == len(set(asked)), "nothing was lost, so nothing is asked twice"

    for _ in range(rng.choice((1, 1, 2, 3))):
        disturbed(rng.randint(1, writes), rng.randint(1, once) if rng.random() < 0.3 else None)
    disturbed(None, None)
    assert files(out, "answers", "rejects", "builds") == expected


@pytest.mark.parametrize("seed", range(44))
def test_a_run_that_crashes_at_any_write_has_the_same_result(
    source: Path,
    tmp_path: Path,
    seed: int,
    undisturbed: tuple[dict[str, bytes], int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check(source, tmp_path, seed, undisturbed, monkeypatch)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(1000, 1300))
def test_hundreds_of_crashes(
    source: Path,
    tmp_path: Path,
    seed: int,
    undisturbed: tuple[dict[str, bytes], int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check(source, tmp_path, seed, undisturbed, monkeypatch)
