"""What surrounds a run in its own process: Ray, and the signals that ask it to stop."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import ray

from recaption.errors import ClusterError
from recaption.generate.plan import Plan


@contextmanager
def ray_cluster(plan: Plan) -> Iterator[None]:
    """A Ray cluster to work on: the one at RAY_ADDRESS, or one on this machine for as long as the run."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "configure_logging": True}
    if not os.environ.get("RAY_ADDRESS"):
        options["address"] = "local"  # not a cluster that happens to run on this machine: it was not asked for
        engines = max((m.config.cpus * _local_replicas(m.config.replicas) for m in plan.models if m.engine), default=0)
        # Next to the engines there is always a core's worth of room for indexing and writing, or they would starve.
        options["num_cpus"] = max(os.cpu_count() or 1, int(engines) + 1)
        options["object_store_memory"] = 256 * 1024 * 1024  # bytes; no data travels through it
    _start(options)
    try:
        yield
    finally:
        ray.shutdown()


def _start(options: dict[str, Any]) -> None:
    """ray.init, twice if need be: its daemons get 30 s to come up, which a machine at its limits may miss once."""
    for attempt in (1, 2):
        try:
            ray.init(logging_level="ERROR", **options)
            return
        except Exception as error:  # Ray raises plain ones here
            ray.shutdown()
            if attempt == 2 or os.environ.get("RAY_ADDRESS"):
                where = os.environ.get("RAY_ADDRESS") or "this machine (its logs: /tmp/ray/session_latest/logs)"
                raise ClusterError(f"Ray cannot be used on {where}: {error}") from error


def _local_replicas(replicas: Any) -> int:
    return 1 if replicas == "auto" else int(replicas)


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Tells whether SIGINT or SIGTERM came. The second SIGINT stops at once."""
    requested = False

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        requested = True

    try:
        before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: whoever runs us there handles signals
        before = {}
    try:
        yield lambda: requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
