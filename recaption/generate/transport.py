"""How the driver uses the cluster: tasks, actors and their replies. Ray in production; tests replace it."""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import ray

from recaption.generate.actor import ActorSpec, EngineHost
from recaption.generate.ray_tasks import as_raised, remote_task, start_actor
from recaption.watch import Watch


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """The end of a call: its value, or the error that it raised (ActorLost if the actor's process has ended)."""

    ticket: int
    value: Any = None
    error: BaseException | None = None

    def result(self) -> Any:
        """The value. Raises the error."""
        if self.error is not None:
            raise self.error
        return self.value


class Transport(Protocol):
    """Calls return tickets at once; `wait` returns their replies, errors included."""

    calls: int  # made so far

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def task(self, function: Callable[..., Any], *args: Any) -> int:
        """Run a function somewhere on the cluster, with retries after errors of source and store."""
        ...

    def spawn(self, spec: ActorSpec, *, cpus: float, gpus: int) -> Any:
        """Start an actor as soon as the cluster has room for it. Returns its handle."""
        ...

    def call(self, handle: Any, method: str, *args: Any) -> int: ...

    def kill(self, handle: Any) -> None: ...

    def wait(self, timeout: float) -> list[Reply]:
        """Replies since the last call. Returns as soon as there is one, at the latest after `timeout` seconds."""
        ...

    def gpus(self) -> list[int]:
        """GPUs of each live node."""
        ...

    def cpus(self) -> list[int]:
        """Cores of each live node."""
        ...


class EngineActor(EngineHost):
    """`EngineHost` in a separate process. The processes that its engine has started end with it."""

    def __init__(self, spec: ActorSpec) -> None:
        self._descendants = Watch.of_this_process()
        super().__init__(spec)


class RayTransport:
    """See `Transport`. Ray pushes replies, so a round costs the same for ten actors and for a thousand."""

    def __init__(self) -> None:
        self.calls = 0
        self._tickets = itertools.count()
        self._replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()

    def now(self) -> float:
        return time.monotonic()

    def task(self, function: Callable[..., Any], *args: Any) -> int:
        return self._expect(remote_task(function, spread=True).remote(*args))

    def spawn(self, spec: ActorSpec, *, cpus: float, gpus: int) -> Any:
        return start_actor(EngineActor, spec, cpus=cpus, gpus=gpus)

    def call(self, handle: Any, method: str, *args: Any) -> int:
        return self._expect(getattr(handle, method).remote(*args))

    def kill(self, handle: Any) -> None:
        ray.kill(handle)

    def wait(self, timeout: float) -> list[Reply]:
        found = []
        try:
            found.append(self._replies.get(timeout=timeout))
            while True:
                found.append(self._replies.get_nowait())
        except queue.Empty:
            return found

    def gpus(self) -> list[int]:
        return self._resource("GPU")

    def cpus(self) -> list[int]:
        return self._resource("CPU")

    def _resource(self, name: str) -> list[int]:
        return [int(node["Resources"].get(name, 0)) for node in ray.nodes() if node["Alive"]]

    def _expect(self, ref: ray.ObjectRef) -> int:
        self.calls += 1
        ticket = next(self._tickets)

        def done(future: Any) -> None:
            error = future.exception()
            if error is None:
                self._replies.put(Reply(ticket=ticket, value=future.result()))
            else:
                self._replies.put(Reply(ticket=ticket, error=as_raised(error)))

        ref.future().add_done_callback(done)
        return ticket
