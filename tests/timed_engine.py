"""An engine without a model: answers after a random time, and keeps when it had how many requests at once.

A caption has ten sentences. Of choices it takes the first one, after a tenth of the time.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from pathlib import Path

from recaption.engine.base import Completion, EngineSpec, Gauge, Logprobs, Rendered, Request

COLOURS = ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white"]


class TimedEngine:
    """engine_args: `slots` (requests that it answers at once; like vLLM it wants a few more, which wait inside it),
    `latency` (mean seconds), `spread` (each is latency x [1 - spread, 1 + spread]), `log` (a folder for the times at
    which requests came and went, and at which the last caption began)."""

    outputs = frozenset({"text", "choices", "logprobs"})

    def __init__(self, spec: EngineSpec) -> None:
        options = dict(spec.engine_args)
        slots = int(options["slots"])
        self.capacity = slots + max(8, slots // 4)
        self._slots = asyncio.Semaphore(slots)
        self._latency, self._spread = float(options["latency"]), float(options["spread"])
        self._log = Path(options["log"])
        self._rng = random.Random(os.getpid())
        self._times: list[tuple[float, int]] = []
        self._now = 0
        self._last_caption = 0.0

    def renderer(self) -> None:
        return None

    async def start(self) -> None:
        return None

    async def generate(self, work: Request | Rendered) -> Completion:
        self._change(1)
        if not work.output.choices:
            self._last_caption = time.time()
        try:
            async with self._slots:
                share = 0.1 if work.output.choices else 1.0
                await asyncio.sleep(share * self._latency * self._rng.uniform(1 - self._spread, 1 + self._spread))
        finally:
            self._change(-1)
        if choices := work.output.choices:
            logprobs = Logprobs(tokens=(-0.1,), nbytes=(3,), choices=(-0.1, *(-5.0 for _ in choices[1:])))
            return Completion(
                text=choices[0], finish_reason="stop", prompt_tokens=300, output_tokens=1, logprobs=logprobs
            )
        text = " ".join(f"There is a {colour} cup on the table." for colour in COLOURS)
        return Completion(text=text, finish_reason="stop", prompt_tokens=300, output_tokens=100)

    async def stop(self) -> None:
        (self._log / f"{os.getpid()}.json").write_text(
            json.dumps({"times": self._times, "last_caption": self._last_caption})
        )

    def gauge(self) -> Gauge | None:
        return None

    def provenance(self) -> dict[str, str]:
        return {"engine": "timed"}

    def _change(self, by: int) -> None:
        self._now += by
        self._times.append((time.time(), self._now))
