"""Functions and classes that run on Ray, and their results: the only place that sets Ray's options."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from recaption.errors import ClusterError, RecaptionError, ShardError, StoreError, UserError


class ActorLost(Exception):
    """An actor's process has ended, and all its calls with it."""


def remote_task(function: Callable[..., Any], *, cpus: float = 0, node: str | None = None, spread: bool = False) -> Any:
    """`function` as a Ray task; `.remote(…)` starts it and returns a reference to its result.

    Ray retries it after an error of source or store, and after the loss of its worker. By default no CPU is reserved:
    the caller bounds the number of tasks, and they need not wait for tasks that write shards. `node`: the id of the
    node it has to run on. `spread`: distribute the calls over all nodes; otherwise Ray prefers this node.
    """
    task = _task(function, cpus)
    if spread:
        return task.options(scheduling_strategy="SPREAD")
    return task if node is None else task.options(scheduling_strategy=_on(node))


@cache  # Ray exports a function to the cluster once per remote function
def _task(function: Callable[..., Any], cpus: float) -> Any:
    return ray.remote(num_cpus=cpus, max_retries=2, retry_exceptions=[ShardError, StoreError])(function)


def start_actor(
    cls: type, *args: Any, cpus: float = 0, gpus: int = 0, calls: int = 1000, node: str | None = None
) -> Any:
    """Start a Ray actor and return its handle. It is never restarted; `calls`: how many may run concurrently."""
    options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "max_concurrency": calls, "max_restarts": 0}
    if node is not None:
        options["scheduling_strategy"] = _on(node)
    return ray.remote(cls).options(**options).remote(*args)


def get(ref: Any) -> Any:
    """The result of a task, or of each task of a list. Raises the error that the task raised (see `as_raised`)."""
    try:
        return ray.get(ref)
    except RayError as error:
        raised = as_raised(error)
        raise raised from (None if raised is not error else error)


def as_raised(error: BaseException) -> BaseException:
    """The error that remote code raised, if it is one of recaption's; ActorLost or ClusterError for a lost process."""
    if isinstance(error, RayActorError):
        return ActorLost(last_line(error))
    if isinstance(error, RayTaskError):
        cause = getattr(error, "cause", None)
        return cause if isinstance(cause, RecaptionError | UserError | ImportError) else error
    if isinstance(error, RayError):
        return ClusterError(f"Ray lost a task: {last_line(error)} (its logs: /tmp/ray/session_latest/logs)")
    return error


def last_line(error: BaseException) -> str:
    """The last line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)
