"""Starts an engine, uses it, and stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from recaption.engine import build
from recaption.engine.base import EngineSpec


def use_engine(spec: EngineSpec, use: Callable[[Any], Awaitable[Any]]) -> Any:
    """What `use` returns for the started engine."""

    async def run() -> Any:
        engine = build(spec)
        await engine.start()
        try:
            return await use(engine)
        finally:
            await engine.stop()

    return asyncio.run(run())
