"""The real driver, actors and store in one process, with crashes on command: no Ray, so a crash costs milliseconds.

`LocalTransport` runs `EngineHost`s on an event loop of its own thread. `Crashes` counts what the store is asked to do
and, at the operation it is told, ends the world: that operation is not begun, or is left half done, or is done, and
from then on nothing can be written or deleted any more, as after a SIGKILL of every process at once.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import math
import queue
import random
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recaption.engine.base import Completion, Engine, Logprobs, Rendered, Request
from recaption.generate.actor import ActorSpec, EngineHost
from recaption.generate.ray_tasks import ActorLost
from recaption.generate.transport import Reply
from recaption.io.store import LocalStore


class Crashed(BaseException):
    """The process is gone."""


class Crashes:
    """Patches the local store. `at` counts its writes and deletions, from 1; None: count only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None = None, seed: int = 0) -> None:
        self.at, self.count, self.crashed = at, 0, False
        self._rng = random.Random(seed)
        self._lock = threading.Lock()
        for name in ("put", "adopt", "delete"):
            monkeypatch.setattr(LocalStore, name, self._patched(getattr(LocalStore, name), name))

    def _patched(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def operation(store: LocalStore, *args: Any, **options: Any) -> Any:
            with self._lock:
                if self.crashed:
                    raise Crashed
                self.count += 1
                mine = self.count == self.at
                if mine:
                    self.crashed = True
            how = self._rng.choice(("before", "half", "after")) if mine else "whole"
            if how == "half" and name == "put":  # a temporary file with a part of it, as a kill leaves it
                target = Path(store.root) / args[0]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.with_name(f".tmp-{self._rng.getrandbits(64):x}").write_bytes(args[1][: len(args[1]) // 2])
            if how in ("whole", "after"):
                result = real(store, *args, **options)
            if mine:
                raise Crashed
            return result

        return operation


class CountingEngine:
    """Deterministic answers after a moment, of choices one; `asked` holds (image, prompt) of every request."""

    def __init__(self, asked: list[tuple[str, str]], capacity: int, seed: int) -> None:
        self.capacity, self.asked, self._rng = capacity, asked, random.Random(seed)

    def renderer(self) -> None:
        return None

    async def start(self) -> None:
        return None

    async def generate(self, work: Request | Rendered) -> Completion:
        assert isinstance(work, Request)
        self.asked.append((work.sha256, work.prompt))
        await asyncio.sleep(self._rng.random() * 0.004)
        text = f"A cup, number {work.sha256[:8]}. It stands on {len(work.prompt)} tables. A red dog is on the left."
        if choices := work.output.choices:
            first = 0.05 + 0.9 * (zlib.crc32((work.sha256 + work.prompt).encode()) % 100) / 100
            values = (math.log(first), *(math.log((1 - first) / (len(choices) - 1)) for _ in choices[1:]))
            logprobs = Logprobs(tokens=(values[0],), nbytes=(1,), choices=values)
            return Completion(
                text=choices[0], finish_reason="stop", prompt_tokens=9, output_tokens=1, logprobs=logprobs
            )
        if "probably wrong" in work.prompt:
            text = f"A blue dog number {len(work.prompt)} is on the right."
        return Completion(text=text, finish_reason="stop", prompt_tokens=9, output_tokens=12)

    async def stop(self) -> None:
        return None

    def gauge(self) -> None:
        return None

    def provenance(self) -> dict[str, str]:
        return {"engine": "counting"}


class LocalTransport:
    """See `recaption.generate.transport.Transport`."""

    def __init__(self, make_engine: Callable[[int], Engine], crashes: Crashes | None = None, nodes: int = 1) -> None:
        self.calls = 0
        self._make, self._crashes, self._nodes = make_engine, crashes, nodes
        self._tickets = itertools.count()
        self._events: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._hosts: dict[int, EngineHost] = {}
        self._open: dict[int, dict[int, asyncio.Task[Any]]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def now(self) -> float:
        return time.monotonic()

    def task(self, function: Callable[..., Any], *args: Any) -> int:
        return self._run(lambda: asyncio.to_thread(function, *args), None)

    def spawn(self, spec: ActorSpec, *, cpus: float, gpus: int) -> int:
        self._hosts[spec.actor] = EngineHost(spec, self._make(spec.actor))
        self._open[spec.actor] = {}
        return spec.actor

    def call(self, actor: int, method: str, *args: Any) -> int:
        host = self._hosts.get(actor)
        if host is None:
            ticket = next(self._tickets)
            self._events.put(Reply(ticket=ticket, error=ActorLost("killed")))
            return ticket
        return self._run(lambda: getattr(host, method)(*args), actor)

    def kill(self, actor: int) -> None:
        """As SIGKILL: whatever it was at stops where it is, and whoever waits for it learns that it is gone."""
        self._hosts.pop(actor, None)
        tasks = self._open.pop(actor, {})  # a call that has not begun by now finds that the actor is gone
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks.values()])

    def wait(self, timeout: float) -> list[Reply]:
        found: list[Reply] = []
        try:
            found.append(self._events.get(timeout=min(timeout, 0.02)))
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            pass
        if self._crashes is not None and self._crashes.crashed:
            raise Crashed
        return found

    def gpus(self) -> list[int]:
        return [0] * self._nodes

    def cpus(self) -> list[int]:
        return [2] * self._nodes

    def close(self) -> None:
        async def cancel() -> None:
            until = time.monotonic() + 60
            # Again and again: what is cancelled makes room, and an actor fills it up with the next.
            while (tasks := asyncio.all_tasks() - {asyncio.current_task()}) and time.monotonic() < until:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks, timeout=1)

        asyncio.run_coroutine_threadsafe(cancel(), self._loop).result(120)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(120)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _run(self, make: Callable[[], Any], actor: int | None) -> int:
        self.calls += 1
        ticket = next(self._tickets)

        async def work() -> None:
            task = asyncio.current_task()
            assert task is not None
            open = {} if actor is None else self._open.get(actor)
            try:
                if open is None:
                    raise asyncio.CancelledError
                open[ticket] = task
                value = await make()
                self._events.put(Reply(ticket=ticket, value=copy.deepcopy(value)))
            except asyncio.CancelledError:
                self._events.put(Reply(ticket=ticket, error=ActorLost("killed")))
            except BaseException as error:  # noqa: BLE001 - it is told, whatever it is
                self._events.put(Reply(ticket=ticket, error=error))
            finally:
                if open is not None:
                    open.pop(ticket, None)

        asyncio.run_coroutine_threadsafe(work(), self._loop)
        return ticket
