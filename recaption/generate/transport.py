"""How the driver reaches the cluster: tasks, actors, and what comes back from them. Ray is one; tests have others."""

from __future__ import annotations

import itertools
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from recaption.errors import ClusterError, RecaptionError, ShardError, StoreError, UserError
from recaption.generate.actor import ActorSpec, EngineHost
from recaption.generate.guard import end_with_this_process


class ActorLost(Exception):
    """An actor's process is gone, with all it was at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of a call: its value, or the error as it was raised over there (ActorLost: nobody is there)."""

    ticket: int
    value: Any = None
    error: BaseException | None = None


class Transport(Protocol):
    """Calls return tickets at once; `wait` hands out what came back, whatever it was."""

    calls: int  # made so far

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def task(self, function: Callable[..., Any], *args: Any) -> int:
        """Run a function somewhere on the cluster; errors of source and store are tried again there."""
        ...

    def spawn(self, spec: ActorSpec, *, cpus: float, gpus: int) -> None:
        """Make the actor `spec.actor`, as soon as there is room for it."""
        ...

    def call(self, actor: int, method: str, *args: Any) -> int: ...

    def kill(self, actor: int) -> None: ...

    def wait(self, timeout: float) -> list[Outcome]:
        """What has come back, at once if anything has, else after at most `timeout` seconds."""
        ...

    def gpus(self) -> list[int]:
        """GPUs of each node that is alive."""
        ...


class EngineActor(EngineHost):
    """`EngineHost` in a process of its own."""

    def __init__(self, spec: ActorSpec) -> None:
        end_with_this_process()
        super().__init__(spec)


class RayTransport:
    """See `Transport`. What comes back is pushed by Ray: a round costs the same for ten actors and a thousand."""

    def __init__(self) -> None:
        self.calls = 0
        self._tickets = itertools.count()
        self._events: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._actors: dict[int, Any] = {}
        self._tasks: dict[Callable[..., Any], Any] = {}

    def now(self) -> float:
        return time.monotonic()

    def task(self, function: Callable[..., Any], *args: Any) -> int:
        # No cores reserved: the driver bounds them, and they must not wait behind the writing of shards.
        if function not in self._tasks:
            options = {"num_cpus": 0, "max_retries": 2, "retry_exceptions": [ShardError, StoreError]}
            self._tasks[function] = ray.remote(**options)(function)
        return self._expect(self._tasks[function].remote(*args))

    def spawn(self, spec: ActorSpec, *, cpus: float, gpus: int) -> None:
        remote = ray.remote(EngineActor).options(
            num_cpus=cpus, num_gpus=gpus, max_concurrency=1000, max_restarts=0, name=None
        )
        self._actors[spec.actor] = remote.remote(spec)

    def call(self, actor: int, method: str, *args: Any) -> int:
        return self._expect(getattr(self._actors[actor], method).remote(*args))

    def kill(self, actor: int) -> None:
        ray.kill(self._actors.pop(actor))

    def wait(self, timeout: float) -> list[Outcome]:
        found = []
        try:
            found.append(self._events.get(timeout=timeout))
            while True:
                found.append(self._events.get_nowait())
        except queue.Empty:
            return found

    def gpus(self) -> list[int]:
        return [int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]]

    def _expect(self, ref: ray.ObjectRef) -> int:
        self.calls += 1
        ticket = next(self._tickets)

        def came(future: Any) -> None:
            error = future.exception()
            if error is None:
                self._events.put(Outcome(ticket=ticket, value=future.result()))
            else:
                self._events.put(Outcome(ticket=ticket, error=as_raised(error)))

        ref.future().add_done_callback(came)
        return ticket


def get(ref: Any) -> Any:
    """The result of a task (or of each of a list), or the error as it was raised over there."""
    try:
        return ray.get(ref)
    except RayError as error:
        raised = as_raised(error)
        raise raised from (None if raised is not error else error)


def as_raised(error: BaseException) -> BaseException:
    """What was raised over there, where it is ours; ActorLost and ClusterError for what befell Ray's processes."""
    if isinstance(error, RayActorError):
        return ActorLost(last_words(error))
    if isinstance(error, RayTaskError):
        cause = getattr(error, "cause", None)
        return cause if isinstance(cause, RecaptionError | UserError | ImportError) else error
    if isinstance(error, RayError):
        return ClusterError(f"Ray lost a task: {last_words(error)} (its logs: /tmp/ray/session_latest/logs)")
    return error


def last_words(error: BaseException) -> str:
    """The last line of an error's text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
