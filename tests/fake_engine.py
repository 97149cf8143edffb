"""A deterministic engine for tests that need thousands of answers or a fault on command. Runs in Ray actors.

engine_args: `capacity`, `latency` (seconds), `decode`; `render` (it has a renderer, so that there are render actors);
`child` (a process of its own does the answering, as vLLM's does: when that is gone, the engine is dead); `refusals`
(it answers nothing but that it cannot help);
`fsync: false` (parts are stored without waiting for the disk: what a kill may cost depends on how long that takes).

Faults are ordered through files in the folder `faults` names, so that a test can give them to another process:
`die-<n>`: the process exits hard at its n-th request; `dead`: start raises EngineDead; `dying`: any request raises it;
`poison-<sha256>`: the process exits hard when that image is in it (`-soft`: the engine says that it died instead,
`-hang`: it never answers anything again); `full-<n>`: from its n-th request on, the disk that the process writes to is
full; `hold-<n>`: once the engines of all runs got n requests, further ones wait until the file is gone.
It tells there what it did: a file `started-<pid>`, in `asked-<pid>` a line for each request, and `held-<pid>` once a
request waits for a `hold-<n>`.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import math
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recaption.decode import decode
from recaption.engine.base import Completion, EngineSpec, Gauge, Logprobs, Rendered, Request
from recaption.errors import EngineDead, RequestError
from recaption.tasks.output import TEXT, Output
from recaption.types import ImageLimits

ENGINE_PROCESS = "fake-engine-process"
"""Stands in the command line of an engine's own process."""

_ANSWER_LINES = """
import hashlib, sys, time
for line in sys.stdin:
    number, asked = line.split()
    print(number, hashlib.sha256(bytes.fromhex(asked)).hexdigest()[:8], flush=True)
time.sleep(3600)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeInput:
    """What the fake renderer makes of a request."""

    sha256: str
    prompt: str
    pixels: np.ndarray  # uint8 [height, width, 3]
    output: Output = TEXT


@dataclass(frozen=True, kw_only=True, slots=True)
class FakeRendererSpec:
    limits: ImageLimits

    def build(self) -> FakeRenderer:
        return FakeRenderer(self.limits)


class FakeRenderer:
    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits

    def render(self, request: Request) -> Rendered:
        pixels = np.asarray(decode(request.image, self._limits, None))
        asked = FakeInput(sha256=request.sha256, prompt=request.prompt, pixels=pixels, output=request.output)
        return Rendered(engine_input=asked, sampling=request.sampling, nbytes=pixels.nbytes, output=request.output)


class EngineProcess:
    """A process that computes answers' words. Like vLLM's, it does not notice when nobody is there any more."""

    def __init__(self) -> None:
        self.gone = False
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count()
        self._open: dict[int, asyncio.Future[str]] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _ANSWER_LINES, ENGINE_PROCESS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()

    async def word(self, asked: str) -> str:
        """Raises EngineDead."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        self._open[number] = self._loop.create_future()
        try:
            if self.gone:
                raise BrokenPipeError
            self._process.stdin.write(f"{number} {asked.encode().hex()}\n")
            self._process.stdin.flush()
        except OSError:
            self._ended()
        return await self._open[number]

    def stop(self) -> None:
        self._process.kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            number, word = line.split()
            self._loop.call_soon_threadsafe(self._came, int(number), word)
        self._loop.call_soon_threadsafe(self._ended)

    def _came(self, number: int, word: str) -> None:
        if not self._open[number].done():
            self._open[number].set_result(word)

    def _ended(self) -> None:
        self.gone = True
        for future in self._open.values():
            if not future.done():
                future.set_exception(EngineDead("the engine's process has ended"))


class FakeEngine:
    """Its answer is a pure function of (image, prompt). Of several choices, one has the probability 0.9."""

    outputs = frozenset({"text", "choices", "logprobs"})

    def __init__(self, spec: EngineSpec) -> None:
        options = dict(spec.engine_args)
        self.capacity = int(options.get("capacity", 32))
        self._latency = float(options.get("latency", 0.0))
        self._faults = Path(options["faults"]) if "faults" in options else None
        self._decode = bool(options.get("decode", True))
        self._renders, self._has_child = bool(options.get("render")), bool(options.get("child"))
        self._refuses = bool(options.get("refusals"))
        self._fsync = bool(options.get("fsync", True))
        self._limits = spec.limits
        self._requests = 0
        self._dead = False
        self._hangs = asyncio.Event()
        self._child: EngineProcess | None = None

    def renderer(self) -> FakeRendererSpec | None:
        return FakeRendererSpec(limits=self._limits) if self._renders else None

    async def start(self) -> None:
        if not self._fsync:
            os.fsync = _no_wait
        if self._faults:
            (self._faults / f"started-{os.getpid()}").touch()
        if self._ordered("dead"):
            raise EngineDead("CUDA error: no kernel image is available")
        if self._has_child:
            self._child = EngineProcess()

    async def generate(self, work: Request | Rendered) -> Completion:
        asked = work if isinstance(work, Request) else work.engine_input
        assert isinstance(asked, Request if not self._renders else FakeInput)
        self._requests += 1
        await self._obey(asked)
        if isinstance(asked, Request) and self._decode:
            decode(asked.image, self._limits, None)
        if "refuse" in asked.prompt:
            raise RequestError("refused on command")
        await asyncio.sleep(self._latency)
        if self._hangs.is_set():
            await asyncio.Event().wait()
        if self._dead:
            raise EngineDead("CUDA error: an illegal memory access was encountered")
        whom = asked.sha256 + asked.prompt
        if self._child is not None:
            word = await self._child.word(whom)
        else:
            word = hashlib.sha256(whom.encode()).hexdigest()[:8]
        text = f"There is a red cup number {word}. It stands on a table."
        if "probably wrong" in asked.prompt:  # of the prompt of task `repair`
            text = f"There is a blue cup number {word}."
        if self._refuses:
            text = "I'm sorry, but I can't help with that."
        if choices := asked.output.choices:
            chosen = int(word, 16) % len(choices)
            rest = math.log(0.1 / max(1, len(choices) - 1))
            values = tuple(math.log(0.9) if at == chosen else rest for at in range(len(choices)))
            logprobs = Logprobs(tokens=(values[chosen],), nbytes=(len(choices[chosen]),), choices=values)
            return Completion(
                text=choices[chosen], finish_reason="stop", prompt_tokens=20, output_tokens=1, logprobs=logprobs
            )
        return Completion(text=text, finish_reason="stop", prompt_tokens=20, output_tokens=14)

    async def stop(self) -> None:
        if self._child is not None:
            self._child.stop()

    def gauge(self) -> Gauge | None:
        return None

    def provenance(self) -> dict[str, str]:
        return {"engine": "fake", "version": "1"}

    def _ordered(self, fault: str) -> bool:
        return self._faults is not None and (self._faults / fault).exists()

    def _all_asked(self) -> int:
        assert self._faults is not None
        return sum(len(log.read_bytes().splitlines()) for log in self._faults.glob("asked-*"))

    def _holds(self) -> bool:
        assert self._faults is not None
        orders = [int(order.name.split("-")[1]) for order in self._faults.glob("hold-*")]
        return bool(orders) and self._all_asked() >= min(orders)

    async def _obey(self, asked: Request | FakeInput) -> None:
        """Do what is ordered, and tell of the request unless this ends the engine."""
        if self._child is not None and self._child.gone:
            raise EngineDead("the engine's process has ended")
        if self._faults is None:
            return
        for order in self._faults.glob("die-*"):
            if self._requests >= int(order.name.split("-")[1]):
                order.unlink(missing_ok=True)
                os._exit(1)
        if self._ordered("dying"):
            self._dead = True
        while self._holds():
            (self._faults / f"held-{os.getpid()}").touch()
            await asyncio.sleep(0.02)
        for order in self._faults.glob("full-*"):
            if self._requests >= int(order.name.split("-")[1]):
                os.fsync = _no_space
        for order in self._faults.glob(f"poison-{asked.sha256}*"):
            await asyncio.sleep(self._latency / 2)
            if order.name.endswith("-soft"):
                self._dead = True
            elif order.name.endswith("-hang"):
                self._hangs.set()
            else:
                os._exit(1)
        with (self._faults / f"asked-{os.getpid()}").open("a") as log:
            log.write(f"{asked.sha256}\t{asked.prompt[:40]}\n")


def _no_wait(*_: Any) -> None:
    pass


def _no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
