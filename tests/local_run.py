"""Whole runs in this process, without Ray. Engines are kept: a later run with the same engine starts at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
from local_cluster import LocalTransport
from local_pool import LocalPool

from recaption import engine
from recaption.engine.base import EngineSpec
from recaption.generate.actor import ActorSpec, EngineHost


class Kept:
    """An engine that is started once and stopped by `close` alone."""

    def __init__(self, spec: EngineSpec) -> None:
        self.engine = engine.build(spec)
        self._starting = asyncio.Lock()
        self._started = False

    async def start(self) -> None:
        async with self._starting:
            if not self._started:
                await self.engine.start()
            self._started = True

    async def stop(self) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


class KeptEngines(LocalTransport):
    """See `LocalTransport`. One for all passes of all runs, because engines belong to its event loop."""

    def __init__(self) -> None:
        super().__init__(lambda actor: pytest.fail("spawn makes the engines"))
        self.kept: dict[EngineSpec, Kept] = {}

    def spawn(self, spec: ActorSpec, *, cpus: float, gpus: int) -> int:
        same = replace(spec.engine, outputs=())
        if same not in self.kept:
            self.kept[same] = Kept(spec.engine)
        self._hosts[spec.actor] = EngineHost(spec, self.kept[same])  # type: ignore[arg-type]
        self._open[spec.actor] = {}
        return spec.actor

    def close(self) -> None:
        for each in self.kept.values():
            asyncio.run_coroutine_threadsafe(each.engine.stop(), self._loop).result(120)
        super().close()


@contextmanager
def local_runs() -> Iterator[KeptEngines]:
    """Meanwhile, `recaption run` and its like use this process instead of Ray."""
    engines = KeptEngines()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recaption.generate.driver.RayTransport", lambda: engines)
        patch.setattr("recaption.run.job.RayPool", lambda took=None: LocalPool())
        patch.setattr("recaption.run.job.ray_cluster", lambda plan: nullcontext())
        patch.setattr("recaption.run.job.Daemons", lambda: nullcontext(_NoDaemons()))
        try:
            yield engines
        finally:
            engines.close()


class _NoDaemons:
    def check(self) -> None:
        return None
