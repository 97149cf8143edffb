"""Render workers of an engine: processes that decode and render images, as many as keep the engine's queue filled.

The actor of the engine owns them. They run on its node, so that pixels are passed through shared memory as contiguous
arrays. A worker that dies is replaced and its requests are rendered again. An image that crashes two workers on its own
is rejected.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from recaption.engine.base import Rendered, RendererSpec, Request
from recaption.errors import EngineDead, ImageError, Interrupted, RecaptionError, RequestError

Result = Rendered | RecaptionError
BATCH = 8  # requests that are sent to a worker together
AHEAD = 2  # batches at a worker: one running, one queued
GROW_AFTER = 2  # successive windows in which the engine was idle while images waited for a worker
SETTLE = 10.0  # seconds after a change before the next one
SHRINK_AFTER = 60  # successive windows in which fewer workers would have been enough
STARTS = 3  # attempts to start a worker before the pool shrinks by one
START_SECONDS = 600.0  # after that, a worker that is not ready has failed to start
HANG_SECONDS = 300.0  # after that, a worker that has not returned a batch is lost


class WorkerLost(Exception):
    """The process of a render worker has ended."""


class Worker(Protocol):
    """A render process, as the pool uses it."""

    async def ready(self) -> None:
        """Returns when the worker can render. Raises the error of its renderer's `build`."""
        ...

    async def render(self, requests: Sequence[Request]) -> list[Result]:
        """Raises WorkerLost."""
        ...

    def kill(self) -> None: ...


class RenderWorker:
    """The code in the process of a worker."""

    def __init__(self, spec: RendererSpec) -> None:
        self._renderer = spec.build()

    def ready(self) -> int:
        """The process id."""
        return os.getpid()

    def render(self, requests: Sequence[Request]) -> list[Result]:
        """A result for each request, in order: Rendered or the error."""
        results: list[Result] = []
        for request in requests:
            try:
                results.append(self._renderer.render(request))
            except RecaptionError as error:
                results.append(error)
            except Exception as error:  # noqa: BLE001 - any error concerns one request
                results.append(RequestError(f"{type(error).__name__}: {str(error)[:500]}"))
        return results


class RenderScale:
    """Decides on the number of workers from measurements. Pure."""

    def __init__(self, most: int) -> None:
        self.most = max(1, most)
        self._dry = self._idle = 0
        self._changed = float("-inf")

    def decide(self, now: float, size: int, *, starved: bool, waiting: int, ready: int, busy: float) -> int:
        """+1, 0 or -1 workers, once a window. `starved`: the engine's queue ran empty; `waiting`, `ready`: images
        before and after the workers; `busy`: share of the workers that have work."""
        self._dry = self._dry + 1 if starved and waiting and not ready else 0
        self._idle = self._idle + 1 if ready and not starved and busy * size <= 0.8 * (size - 1) else 0
        if now - self._changed < SETTLE:
            return 0
        if self._dry >= GROW_AFTER and size < self.most:
            self._changed, self._dry = now, 0
            return 1
        if self._idle >= SHRINK_AFTER and size > 1:
            self._changed, self._idle = now, 0
            return -1
        return 0


class RenderPool:
    """The workers and their load. Start it at the same time as the engine: both are slow to start."""

    def __init__(self, launch: Callable[[], Worker], size: int) -> None:
        self._launch = launch
        self._load: dict[Worker, int] = {}
        self._free = asyncio.Condition()
        self._wanted = max(1, size)
        self._starting: set[asyncio.Task[None]] = set()
        self._suspects = 0  # requests that wait for an idle worker to run alone on; other requests wait for them
        self._broken: RecaptionError | None = None
        self.lost = 0

    @property
    def size(self) -> int:
        return self._wanted

    @property
    def busy(self) -> float:
        """Share of the workers with requests."""
        return sum(1 for load in self._load.values() if load) / max(1, len(self._load))

    async def start(self) -> None:
        """Raises the error of a worker that fails to start."""
        await asyncio.gather(*(self._add() for _ in range(self._wanted)))

    async def resize(self, change: int) -> None:
        """Add a worker, or remove an idle one."""
        self._wanted += change
        if change > 0:
            self._spawn()
        elif change < 0:
            idle = next((worker for worker, load in self._load.items() if not load), None)
            if idle is None or len(self._load) < 2:
                self._wanted -= change  # all are busy
                return
            del self._load[idle]
            idle.kill()

    async def render(self, requests: Sequence[Request]) -> list[Result]:
        """A result for each request, in order. Waits for a worker. Requests of a lost worker are rendered again.

        Raises EngineDead when no worker can be started, Interrupted when the pool is stopped.
        """
        await self.place()
        try:
            return await self._at_a_worker(requests, share=1)
        except WorkerLost:
            return [await self._alone(request) for request in requests]  # to find the request that crashes workers

    async def place(self) -> None:
        """Wait until a worker has room for another batch."""
        await self._wait(lambda: not self._suspects and any(load < AHEAD for load in self._load.values()))

    def stop(self) -> None:
        self._broken = self._broken or Interrupted("the renderers were stopped")
        for task in self._starting:
            task.cancel()
        for worker in self._load:
            worker.kill()
        self._load.clear()
        self._waking = asyncio.create_task(self._wake())

    async def _alone(self, request: Request) -> Result:
        """Render one request at an idle worker: if the worker is lost, this request is the cause."""
        for _ in range(2):
            self._suspects += 1
            try:
                await self._wait(lambda: not all(self._load.values()))
            finally:
                self._suspects -= 1
            try:
                [result] = await self._at_a_worker([request], share=AHEAD)
                return result
            except WorkerLost:
                continue
        return ImageError("undecodable", "rendering it crashed two processes")

    async def _wait(self, room: Callable[[], bool]) -> None:
        async with self._free:
            await self._free.wait_for(lambda: self._broken or room())
        if self._broken is not None:
            raise self._broken

    async def _wake(self) -> None:
        async with self._free:
            self._free.notify_all()

    async def _at_a_worker(self, requests: Sequence[Request], share: int) -> list[Result]:
        """Render at the least busy worker. `share`: the load that the requests count as."""
        worker = min(self._load, key=lambda w: self._load[w])
        self._load[worker] += share
        try:
            return await asyncio.wait_for(worker.render(requests), HANG_SECONDS)
        except (WorkerLost, TimeoutError) as error:
            if self._load.pop(worker, None) is not None:
                self.lost += 1
                worker.kill()
                self._spawn()
            raise WorkerLost(str(error) or "the worker hangs") from error
        finally:
            if worker in self._load:
                self._load[worker] -= share
            await self._wake()

    def _spawn(self) -> None:
        task = asyncio.create_task(self._add_or_break())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _add_or_break(self) -> None:
        """Start a worker, with retries. If it was the last one, the pool is broken."""
        reason = ""
        for _ in range(STARTS):
            try:
                await self._add()
                return
            except Exception as error:  # noqa: BLE001 - any error of a renderer
                reason = str(error) or type(error).__name__
        if self._load or len(self._starting) > 1:
            self._wanted -= 1
            return
        self._broken = EngineDead(f"no renderer can be started: {reason}")
        await self._wake()

    async def _add(self) -> None:
        worker = self._launch()
        try:
            await asyncio.wait_for(worker.ready(), START_SECONDS)
        except BaseException:
            worker.kill()
            raise
        self._load[worker] = 0
        await self._wake()


class RayWorker:
    """A render worker as a Ray actor on this node. Create it in the actor of the engine, which owns it."""

    def __init__(self, spec: RendererSpec) -> None:
        import ray

        from recaption.generate.ray_tasks import start_actor

        # No CPU is reserved: the number of workers follows measured load.
        here = ray.get_runtime_context().get_node_id()
        self._actor: Any = start_actor(RenderWorker, spec, calls=1, node=here)

    async def ready(self) -> None:
        await self._call("ready")

    async def render(self, requests: Sequence[Request]) -> list[Result]:
        results: list[Result] = await self._call("render", list(requests))
        return results

    def kill(self) -> None:
        import ray

        ray.kill(self._actor)

    async def _call(self, method: str, *args: Any) -> Any:
        from ray.exceptions import RayActorError, RayError, RayTaskError

        try:
            return await getattr(self._actor, method).remote(*args)
        except RayTaskError as error:
            raise error.cause if isinstance(error.cause, Exception) else error from None
        except RayActorError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, Exception):  # its `__init__` failed
                raise cause from None
            raise WorkerLost(str(error)) from error
        except RayError as error:  # its results were lost with the shared memory
            raise WorkerLost(str(error)) from error
