"""Rendering beside an engine, with workers in this process: batches, losses, and how many of them there are."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import pytest

from recaption.engine.base import Rendered, Request
from recaption.errors import EngineDead, ImageError, Interrupted, MissingExtra, RequestError
from recaption.generate import render
from recaption.generate.render import AHEAD, GROW_AFTER, SETTLE, SHRINK_AFTER, RenderPool, RenderScale, RenderWorker
from recaption.types import Sampling


def request(image: bytes) -> Request:
    return Request(image=image, sha256=image.hex(), prompt="p", sampling=Sampling(max_tokens=8))


def requests(*images: bytes) -> list[Request]:
    return [request(image) for image in images]


class Worker:
    """Renders when it is let; ends at an image of b"kill", as a process would, with all that waits for it."""

    def __init__(self, farm: Farm) -> None:
        self.farm, self.killed, self.at = farm, False, 0
        self._turn = asyncio.Lock()
        self._gone = asyncio.Event()

    async def ready(self) -> None:
        await self.farm.starting(self)

    async def render(self, requests: Sequence[Request]) -> list[render.Result]:
        self.at += 1
        self.farm.most = max(self.farm.most, self.at)
        try:
            async with self._turn:
                if self._gone.is_set():
                    raise render.WorkerLost("it is gone")
                self.farm.batches.append([r.image for r in requests])
                await self.farm.rendering(self, requests)
                if any(r.image == b"kill" for r in requests):
                    self._gone.set()
                    raise render.WorkerLost("signal 9")
                return [Rendered(engine_input=r.image, sampling=r.sampling, nbytes=1) for r in requests]
        finally:
            self.at -= 1

    def kill(self) -> None:
        self.killed = True


class Farm:
    """Where workers come from, and what they were given."""

    def __init__(self, starts: Sequence[Exception | None] = ()) -> None:
        self.workers: list[Worker] = []
        self.batches: list[list[bytes]] = []
        self.most = 0  # batches that one worker had at once
        self.starts = list(starts)  # outcomes of the first starts; later ones succeed
        self.gate = asyncio.Event()
        self.gate.set()

    def launch(self) -> Worker:
        self.workers.append(Worker(self))
        return self.workers[-1]

    async def starting(self, worker: Worker) -> None:
        await asyncio.sleep(0)
        if self.starts and (error := self.starts.pop(0)) is not None:
            raise error

    async def rendering(self, worker: Worker, requests: Sequence[Request]) -> None:
        await asyncio.sleep(0)
        await self.gate.wait()


def play(scene: Callable[[Farm], Awaitable[None]], starts: Sequence[Exception | None] = ()) -> Farm:
    async def act() -> Farm:
        farm = Farm(starts)
        await asyncio.wait_for(scene(farm), 120)
        return farm

    return asyncio.run(act())


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def rendered(results: Sequence[render.Result]) -> list[bytes | str]:
    return [r.engine_input if isinstance(r, Rendered) else getattr(r, "reason", type(r).__name__) for r in results]


def test_results_come_in_the_order_of_the_requests() -> None:
    async def scene(farm: Farm) -> None:
        pool = RenderPool(farm.launch, 1)
        await pool.start()
        assert rendered(await pool.render(requests(b"a", b"b", b"c"))) == [b"a", b"b", b"c"]

    assert play(scene).batches == [[b"a", b"b", b"c"]]


def test_a_worker_has_two_batches_and_further_ones_wait() -> None:
    async def scene(farm: Farm) -> None:
        farm.gate.clear()
        pool = RenderPool(farm.launch, 2)
        await pool.start()
        tasks = [asyncio.create_task(pool.render(requests(bytes([n])))) for n in range(9)]
        await settle()
        assert [worker.at for worker in farm.workers] == [AHEAD, AHEAD]
        assert pool.busy == 1.0
        place = asyncio.create_task(pool.place())
        await settle()
        assert not place.done()
        farm.gate.set()
        assert [rendered(await task) for task in tasks] == [[bytes([n])] for n in range(9)]
        await place
        assert pool.busy == 0.0

    assert play(scene).most == AHEAD


def test_requests_of_a_lost_worker_are_rendered_by_another() -> None:
    async def scene(farm: Farm) -> None:
        pool = RenderPool(farm.launch, 1)
        await pool.start()
        farm.workers[0]._gone.set()
        assert rendered(await pool.render(requests(b"a", b"b"))) == [b"a", b"b"]
        assert (pool.size, pool.lost) == (1, 1)

    farm = play(scene)
    assert [worker.killed for worker in farm.workers] == [True, False]


def test_an_image_that_crashes_two_workers_alone_is_rejected_and_its_neighbours_are_not() -> None:
    async def scene(farm: Farm) -> None:
        pool = RenderPool(farm.launch, 2)
        await pool.start()
        results = await pool.render(requests(b"a", b"kill", b"b"))
        assert rendered(results) == [b"a", "undecodable", b"b"]
        assert isinstance(results[1], ImageError)
        assert pool.lost == 3
        await settle()
        assert rendered(await pool.render(requests(b"c"))) == [b"c"]

    farm = play(scene)
    assert farm.batches.count([b"kill"]) == 2


@pytest.mark.parametrize("seed", range(40))
def test_an_image_beside_a_crashing_one_is_rendered(seed: int) -> None:
    """A worker has two batches: whichever ends it takes the other one along, and may do so again."""
    rng = random.Random(seed)
    images = [b"kill", b"a", b"b", b"c"]
    batches = [[rng.choice(images) for _ in range(rng.randint(1, 3))] for _ in range(rng.randint(2, 5))]
    workers = rng.randint(1, 2)

    async def scene(farm: Farm) -> None:
        async def somewhen(*args: object) -> None:
            for _ in range(rng.randint(0, 6)):
                await asyncio.sleep(0)

        farm.starting = farm.rendering = somewhen  # type: ignore[method-assign, assignment]
        pool = RenderPool(farm.launch, workers)
        await pool.start()
        tasks = [asyncio.create_task(pool.render(requests(*batch))) for batch in batches]
        results = [rendered(await task) for task in tasks]
        assert results == [["undecodable" if image == b"kill" else image for image in batch] for batch in batches]
        await settle()
        assert pool.size == workers == sum(not worker.killed for worker in farm.workers)

    play(scene)


def test_a_worker_that_hangs_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "HANG_SECONDS", 0.01)

    async def scene(farm: Farm) -> None:
        async def hang(worker: Worker, requests: Sequence[Request]) -> None:
            if requests[0].image == b"hang":
                await asyncio.Event().wait()

        farm.rendering = hang  # type: ignore[method-assign]
        pool = RenderPool(farm.launch, 1)
        await pool.start()
        assert rendered(await pool.render(requests(b"hang", b"a"))) == ["undecodable", b"a"]

    farm = play(scene)
    assert [worker.killed for worker in farm.workers] == [True] * 3 + [False]


def test_the_error_of_the_first_worker_is_raised() -> None:
    async def scene(farm: Farm) -> None:
        with pytest.raises(MissingExtra, match="transformers is not installed"):
            await RenderPool(farm.launch, 1).start()

    assert play(scene, starts=[MissingExtra("transformers", "vllm")]).workers[0].killed


def test_a_first_worker_that_is_never_ready_has_failed_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "START_SECONDS", 0.01)

    async def scene(farm: Farm) -> None:
        async def never(worker: Worker) -> None:
            await asyncio.Event().wait()

        farm.starting = never  # type: ignore[method-assign]
        with pytest.raises(TimeoutError):
            await RenderPool(farm.launch, 1).start()

    assert play(scene).workers[0].killed


def test_without_a_worker_that_starts_rendering_raises() -> None:
    async def scene(farm: Farm) -> None:
        pool = RenderPool(farm.launch, 1)
        await pool.start()
        farm.workers[0]._gone.set()
        with pytest.raises(EngineDead, match="no renderer can be started: out of memory"):
            await pool.render(requests(b"a", b"b"))
        with pytest.raises(EngineDead):
            await pool.place()

    farm = play(scene, starts=[None] + [RuntimeError("out of memory")] * 3)
    assert all(worker.killed for worker in farm.workers)


def test_the_start_of_a_worker_is_retried() -> None:
    async def scene(farm: Farm) -> None:
        pool = RenderPool(farm.launch, 1)
        await pool.start()
        farm.workers[0]._gone.set()
        assert rendered(await pool.render(requests(b"a"))) == [b"a"]
        assert pool.size == 1

    play(scene, starts=[None, RuntimeError("x"), RuntimeError("x")])


def test_a_worker_that_does_not_start_makes_the_pool_smaller() -> None:
    async def scene(farm: Farm) -> None:
        pool = RenderPool(farm.launch, 1)
        await pool.start()
        await pool.resize(1)
        for _ in range(5):
            assert rendered(await pool.render(requests(b"a"))) == [b"a"]
            await settle()
        assert pool.size == 1

    farm = play(scene, starts=[None] + [RuntimeError("x")] * 10)
    assert len(farm.workers) == 4, "tried three times, however well the others do"


def test_the_pool_can_grow_and_shrink() -> None:
    async def scene(farm: Farm) -> None:
        pool = RenderPool(farm.launch, 1)
        await pool.start()
        await pool.resize(1)
        await pool.resize(1)
        await settle()
        assert (pool.size, len(farm.workers)) == (3, 3)
        await pool.resize(-1)
        assert (pool.size, sum(worker.killed for worker in farm.workers)) == (2, 1)

    play(scene)


def test_a_busy_worker_is_not_removed() -> None:
    async def scene(farm: Farm) -> None:
        farm.gate.clear()
        pool = RenderPool(farm.launch, 2)
        await pool.start()
        tasks = [asyncio.create_task(pool.render(requests(b"a"))) for _ in range(2)]
        await settle()
        await pool.resize(-1)
        assert (pool.size, [worker.killed for worker in farm.workers]) == (2, [False, False])
        farm.gate.set()
        await asyncio.gather(*tasks)

    play(scene)


def test_the_size_includes_a_worker_that_is_starting() -> None:
    async def scene(farm: Farm) -> None:
        pool = RenderPool(farm.launch, 1)
        await pool.start()
        await pool.resize(1)
        await pool.resize(-1)  # the only one that there is stays
        await settle()
        assert pool.size == sum(not worker.killed for worker in farm.workers) == 2

    play(scene)


def test_a_stopped_pool_raises() -> None:
    async def scene(farm: Farm) -> None:
        farm.gate.clear()
        pool = RenderPool(farm.launch, 1)
        await pool.start()
        tasks = [asyncio.create_task(pool.render(requests(b"a"))) for _ in range(4)]
        await settle()
        pool.stop()
        farm.workers[0]._gone.set()
        farm.gate.set()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(end) for end in ends[1:]] == [Interrupted] * 3  # the first was in work, and came through
        assert len(farm.workers) == 1 and farm.workers[0].killed

    play(scene)


def test_a_worker_returns_the_error_of_each_request() -> None:
    class Renderer:
        def render(self, request: Request) -> Rendered:
            if request.image == b"broken":
                raise ImageError("truncated", "ends early")
            if request.image == b"odd":
                raise ZeroDivisionError("division by zero")
            return Rendered(engine_input=request.image, sampling=request.sampling, nbytes=1)

    class Spec:
        def build(self) -> Renderer:
            return Renderer()

    results = RenderWorker(Spec()).render(requests(b"a", b"broken", b"odd", b"b"))
    assert rendered(results) == [b"a", "truncated", "RequestError", b"b"]
    assert isinstance(results[2], RequestError) and "ZeroDivisionError: division by zero" in str(results[2])


# how many there should be


class Windows:
    """Shows a scale one window a second."""

    def __init__(self, most: int) -> None:
        self.scale, self.now, self.size = RenderScale(most), 0.0, 1

    def see(self, count: int, *, starved: bool, waiting: int, ready: int, busy: float) -> list[int]:
        """Sizes after each of `count` windows."""
        sizes = []
        for _ in range(count):
            self.now += 1.0
            change = self.scale.decide(self.now, self.size, starved=starved, waiting=waiting, ready=ready, busy=busy)
            self.size += change
            sizes.append(self.size)
        return sizes


DRY = {"starved": True, "waiting": 10, "ready": 0, "busy": 1.0}
SLACK = {"starved": False, "waiting": 0, "ready": 50, "busy": 0.1}


def test_workers_are_added_one_by_one_while_the_engine_is_idle_and_images_wait() -> None:
    windows = Windows(most=3)
    sizes = windows.see(60, **DRY)  # type: ignore[arg-type]
    assert sizes[: GROW_AFTER - 1] == [1] * (GROW_AFTER - 1) and sizes[GROW_AFTER - 1] == 2
    assert sizes.index(3) - sizes.index(2) >= SETTLE, "a new one gets time to show what it does"
    assert max(sizes) == 3, "never more than the machine has room for"


@pytest.mark.parametrize(
    "window",
    [
        {**DRY, "starved": False},
        {**DRY, "waiting": 0},  # it is the reading that is too slow
        {**DRY, "ready": 5},  # it is the engine that does not take what is there
    ],
)
def test_no_workers_are_added_where_they_are_not_the_bottleneck(window: dict[str, float]) -> None:
    assert set(Windows(most=8).see(100, **window)) == {1}  # type: ignore[arg-type]


def test_a_single_idle_window_adds_no_worker() -> None:
    windows = Windows(most=8)
    for _ in range(20):
        windows.see(GROW_AFTER - 1, **DRY)  # type: ignore[arg-type]
        windows.see(1, **SLACK)  # type: ignore[arg-type]
    assert windows.size == 1


def test_idle_workers_are_removed_but_not_the_last_one() -> None:
    windows = Windows(most=8)
    windows.size = 3
    sizes = windows.see(5 * SHRINK_AFTER, **SLACK)  # type: ignore[arg-type]
    assert sizes[SHRINK_AFTER - 2 : SHRINK_AFTER] == [3, 2]
    assert sizes[-1] == 1


def test_needed_workers_stay() -> None:
    windows = Windows(most=8)
    windows.size = 4
    assert set(windows.see(200, **{**SLACK, "busy": 0.7})) == {4}  # type: ignore[arg-type]
