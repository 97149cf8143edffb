"""kill -9 of driver, raylet, actor, engine and render processes: after the rerun it is as if nothing had happened."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from killed_run import KilledRun
from samples import jpeg, sample, write_tar

IMAGES = 240
REQUESTS = 2 * (IMAGES - 4)  # two questions; two images cannot be decoded, two are there twice
CAPACITY = 16
ROOM = 6 * CAPACITY
"""Requests that a run may still get when a kill is due."""

UNSTORED = None
"""What is in flight, and what is answered and not stored yet. Parts are put every 64 answers, and what is answered
during a put waits for the next one: the number depends on the disk. It is counted once the process is dead."""

Cost = Mapping[str, int | None]
COST: Cost = {
    **dict.fromkeys(("parent", "driver", "raylet", "gcs", "dashboard agent", "runtime env agent", "actor"), UNSTORED),
    "engine": CAPACITY,
    **dict.fromkeys(("dashboard", "log monitor", "worker", "render", "term"), 0),
}
ENDS = {  # exit code and last words; the other kinds do not end the run
    "parent": (-signal.SIGKILL, ""),
    "driver": (3, "was ended by SIGKILL"),
    "raylet": (3, "error: Ray's daemon on this machine (raylet) has ended"),
    "gcs": (3, "error: Ray's control service (gcs_server) has ended"),
    "dashboard agent": (3, "error: Ray's daemon on this machine (raylet) has ended"),
    "runtime env agent": (3, "error: Ray's daemon on this machine (raylet) has ended"),
    "term": (75, "interrupted: stopped on request; run the same command again to continue"),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards; among their images a broken one each and one that is there twice."""
    folder = tmp_path_factory.mktemp("source")
    for shard in range(2):
        images = [jpeg(1000 * shard + i) for i in range(IMAGES // 2)]
        images[3], images[7] = b"<html>%d" % shard, images[5]
        samples = [sample(f"{shard}{i:04d}", data, f"text {i}") for i, data in enumerate(images)]
        write_tar(folder / f"{shard}.tar", samples)
    return folder


def work_on(source: Path, folder: Path) -> KilledRun:
    engine: dict[str, Any] = {"capacity": CAPACITY, "latency": 0.05, "render": True, "child": True, "fsync": False}
    return KilledRun(folder, source, {"renderers": 1}, **engine)


@pytest.fixture
def work(source: Path, tmp_path: Path) -> Iterator[KilledRun]:
    work = work_on(source, tmp_path / "work")
    yield work
    work.clean_up()


def files(out: Path) -> dict[str, bytes]:
    """What a run makes, but for what differs from run to run: temporary files, and marks that spare a resume work."""
    found = [path for folder in ("answers", "rejects", "index", "builds") for path in (out / folder).rglob("*")]
    kept = (p for p in found if p.is_file() and not p.name.startswith(".tmp-") and ".complete" not in p.parts)
    return {str(p.relative_to(out)): p.read_bytes() for p in kept}


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a run that nothing befell."""
    work = work_on(source, tmp_path_factory.mktemp("undisturbed"))
    work.start()
    assert work.wait() == 0, work.said()
    assert (work.asked(), work.unstored()) == (REQUESTS, 0)
    return files(work.out)


def disturb(work: KilledRun, kills: list[tuple[str, int]], requests: int, cost: Cost = COST) -> int:
    """Kill one process after another, each after so many more requests; start again what ends by it, run to the end.
    Returns how many requests may be sent twice.

    `requests`: those of an undisturbed run. The last ones wait until the kill has come, so that the run cannot end
    before; a kill that would come after them comes earlier. Only if earlier kills had so many requests repeated that
    none may be left, the others do not come, which is printed.
    """
    limit = requests - 1  # then at least one is left, and more if some were repeated
    lost = 0
    for number, (kind, after) in enumerate(kills):
        asked = work.asked()
        if asked >= limit:
            assert number > 0, "the first kill always comes"
            print(f"no kill of {', '.join(kind for kind, _ in kills[number:])}: all requests were sent before")
            break
        if not work.running:
            work.start()
        due = min(asked + after, limit)
        assert work.wait_until_asked(due, min(ROOM, limit - due)), work.said()
        stops = kind == "term"  # a run that stops stores what is in flight; after a kill, the rest still waits
        if stops:
            work.signal(signal.SIGTERM)
        else:
            assert work.kill(kind, held=True), work.said()
        if kind in ENDS:
            code, words = ENDS[kind]
            assert work.wait(held=not stops) == code, work.said()
            assert words in work.said()
            if code > 0:
                assert work.said().splitlines()[-1].startswith(f"summary: exit code {code}, ")
        repeated = cost[kind]
        lost = work.unstored() if repeated is None else lost + repeated
    if not work.running:
        work.start()
    assert work.wait() == 0, work.said()
    return lost


class Ended:
    """A run that has sent `asked` requests and ends before the next one."""

    running = True

    def __init__(self, asked: int) -> None:
        self._asked = asked

    def asked(self) -> int:
        return self._asked

    def wait_until_asked(self, requests: int, room: int | None = None) -> bool:
        return requests <= self._asked

    def kill(self, kind: str, *, held: bool = False) -> bool:
        self._asked = 99  # all requests were sent meanwhile
        return True

    def wait(self, *, held: bool = False) -> int:
        return 0

    def unstored(self) -> int:
        return 7

    def said(self) -> str:
        return ""


def test_a_kill_that_does_not_come_is_an_error_or_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    for asked, kills in ((0, [("engine", 50)]), (99, [("engine", 1)])):
        with pytest.raises(AssertionError):
            disturb(Ended(asked), kills, 100)  # type: ignore[arg-type]
    work = Ended(50)
    assert disturb(work, [("engine", 0), ("worker", 10), ("driver", 10)], 100) == CAPACITY  # type: ignore[arg-type]
    assert capsys.readouterr().out == "no kill of worker, driver: all requests were sent before\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "kind"),
    [
        (0, "driver"),
        pytest.param(1, "gcs", marks=pytest.mark.systems),
        pytest.param(2, "dashboard agent", marks=pytest.mark.systems),
        (3, "actor"),
        (4, "engine"),
        pytest.param(5, "render", marks=pytest.mark.systems),
    ],
)
def test_a_run_with_killed_processes_has_the_same_result(
    work: KilledRun, undisturbed: dict[str, bytes], seed: int, kind: str
) -> None:
    lost = disturb(work, [(kind, random.Random(seed).randint(1, 300))], REQUESTS)
    assert files(work.out) == undisturbed
    assert REQUESTS <= work.asked() <= REQUESTS + lost, "what is in the store is not paid for again"


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(40))
def test_forty_kills_of_every_kind(work: KilledRun, undisturbed: dict[str, bytes], seed: int) -> None:
    kind = list(COST)[seed % len(COST)]
    lost = disturb(work, [(kind, random.Random(seed).randint(1, 300))], REQUESTS)
    assert files(work.out) == undisturbed
    assert REQUESTS <= work.asked() <= REQUESTS + lost


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["runtime env agent"])
def test_with_json_the_last_line_is_a_summary_after_a_kill(work: KilledRun, kind: str) -> None:
    work.options = ("--json",)
    work.start()
    assert work.wait_until_asked(30, ROOM), work.said()
    began = time.monotonic()
    assert work.kill(kind)
    while work.running:
        time.sleep(0.05)
    assert time.monotonic() - began < 60, "not after the minute that Ray waits"
    assert work.wait() == 3, work.said()
    *lines, error, last = work.said().splitlines()
    assert all(json.loads(line)["event"] for line in lines), "nothing of Ray's between them"
    assert error.startswith("error: ") and "run the same command again" in error
    summary = json.loads(last)
    assert (summary["event"], summary["exit_code"]) == ("summary", 3) and summary["error"] in error


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(100, 220))
def test_runs_killed_again_and_again(work: KilledRun, undisturbed: dict[str, bytes], seed: int) -> None:
    rng = random.Random(seed)
    if rng.random() < 0.3:  # before it asks anything, or while it does
        work.start()
        work.hold(REQUESTS - 1)
        time.sleep(rng.uniform(0, 15))
        assert work.kill("driver") and work.wait() == ENDS["driver"][0], work.said()
        lost = work.unstored()
        disturb(work, [], REQUESTS)
    else:
        kills = [(rng.choice(list(COST)), rng.randint(1, 120)) for _ in range(rng.randint(1, 3))]
        lost = disturb(work, kills, REQUESTS)
    assert files(work.out) == undisturbed
    assert work.asked() <= REQUESTS + lost


@pytest.mark.soak
@pytest.mark.vllm
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")  # vLLM and what it imports warn at will
@pytest.mark.parametrize("kind", ["driver", "actor", "engine", "render"])
def test_vllm_killed_in_the_middle(source: Path, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("vllm")
    from tiny_models import make_scene

    model = {"engine": "vllm", "model": str(make_scene(tmp_path / "model", layers=1)), "max_model_len": 512}
    work = KilledRun(tmp_path / "work", source, {**model, "dtype": "float32", "engine_args": {}})
    for asked in work.data["generate"]:
        asked["sampling"] = {"max_tokens": 24}
    work.data["output"]["max_reject_share"] = 1.0  # what random weights say may be of any kind
    work.write()
    work.patience = 300.0
    try:
        work.start(VLLM_ENABLE_V1_MULTIPROCESSING="1")  # as on a GPU, the engine has a process of its own
        deadline = time.monotonic() + work.patience
        while not list(work.out.glob("answers/*/.parts/*/*.parquet")):
            assert work.running and time.monotonic() < deadline, work.said()
            time.sleep(0.1)
        assert work.kill(kind), work.said()
        if kind in ENDS:
            assert work.wait() == ENDS[kind][0]
            work.start(VLLM_ENABLE_V1_MULTIPROCESSING="1")
        assert work.wait() == 0, work.said()
    finally:
        work.clean_up()
    for generation in ("long", "short"):
        paths = [
            path for kind in ("answers", "rejects") for path in work.out.glob(f"{kind}/{generation}-*/**/*.parquet")
        ]
        keys = [key for path in paths for key in pq.read_table(path, columns=["key"])["key"].to_pylist()]
        assert len(keys) == len(set(keys)), "no key twice"
        assert len(keys) == IMAGES - 2, "none missing: of the images that are there twice, one stands for both"
