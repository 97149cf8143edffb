"""A deterministic engine for tests that need thousands of answers or a fault on command. Runs in Ray actors.

Faults are ordered through files in the folder FAULTS names, so that a test can give them to another process:
`die-<n>`: the process exits hard at its n-th request; `dead`: start raises EngineDead; `poison-<sha256>`: the process
exits hard when that image is in it (`-soft`: the engine says that it died instead, `-hang`: it never answers again).
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

from recaption.decode import decode
from recaption.engine.base import Completion, EngineSpec, Gauge, Rendered, Request
from recaption.errors import EngineDead, RequestError


class FakeEngine:
    """Says what it was asked about whom: a pure function of (image, prompt)."""

    def __init__(self, spec: EngineSpec) -> None:
        options = dict(spec.engine_args)
        self.capacity = int(options.get("capacity", 32))
        self._latency = float(options.get("latency", 0.0))
        self._faults = Path(options["faults"]) if "faults" in options else None
        self._decode = bool(options.get("decode", True))
        self._limits = spec.limits
        self._requests = 0
        self._dead = False

    def renderer(self) -> None:
        return None

    async def start(self) -> None:
        if self._faults and (self._faults / "dead").exists():
            raise EngineDead("CUDA error: no kernel image is available")

    async def generate(self, work: Request | Rendered) -> Completion:
        assert isinstance(work, Request)
        self._requests += 1
        if self._faults:
            for order in self._faults.glob("die-*"):
                if self._requests >= int(order.name.split("-")[1]):
                    order.unlink(missing_ok=True)
                    os._exit(1)
            for order in self._faults.glob(f"poison-{work.sha256}*"):
                await asyncio.sleep(self._latency / 2)
                if order.name.endswith("-soft"):
                    self._dead = True
                elif order.name.endswith("-hang"):
                    await asyncio.Event().wait()
                else:
                    os._exit(1)
            with (self._faults / f"asked-{os.getpid()}").open("a") as log:
                log.write(f"{work.sha256}\t{work.prompt[:40]}\n")
        if self._decode:
            decode(work.image, self._limits, None)
        if "refuse" in work.prompt:
            raise RequestError("refused on command")
        await asyncio.sleep(self._latency)
        if self._dead:
            raise EngineDead("CUDA error: an illegal memory access was encountered")
        word = hashlib.sha256((work.sha256 + work.prompt).encode()).hexdigest()[:8]
        text = f"There is a red cup number {word}. It stands on a table."
        return Completion(text=text, finish_reason="stop", prompt_tokens=20, output_tokens=14)

    async def drain(self, deadline: float) -> None:
        return None

    async def stop(self) -> None:
        return None

    def gauge(self) -> Gauge | None:
        return None

    def provenance(self) -> dict[str, str]:
        return {"engine": "fake", "version": "1"}
