"""Ray's daemons on this machine. Without them the driver reaches nothing, and Ray ends it without a word of ours."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

import ray

from recaption.errors import ClusterLost

_NAMES = {"raylet": "Ray's daemon on this machine (raylet)", "gcs_server": "Ray's control service (gcs_server)"}


class Daemons:
    """The raylet that this process is connected to, and what this process started. What is not found is not checked."""

    def __init__(self) -> None:
        here = ray.get_runtime_context().get_node_id()
        sockets = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == here]
        found = [_listening_at(sockets[0])] if sockets else []
        found += _started_here("gcs_server")  # of a cluster's it is on another machine, and Ray waits for its return
        self._processes = [process for process in found if process is not None]

    def check(self) -> None:
        """Raises ClusterLost when one has ended. Cheap."""
        for name, process in self._processes:
            if not _lives(process):
                raise ClusterLost(
                    f"{_NAMES[name]} has ended: it was killed, or the machine ran out of memory. "
                    "Answers so far are kept; run the same command again to continue"
                )


def _listening_at(socket: str) -> tuple[str, Any] | None:
    """The raylet's process, whose command line names its socket."""
    try:
        import psutil
    except ImportError:
        return None
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "raylet" and f"--raylet_socket_name={socket}" in process.cmdline():
                return "raylet", process
    return None


def _started_here(name: str) -> list[tuple[str, Any] | None]:
    """Processes of that name that this process has started."""
    try:
        import psutil
    except ImportError:
        return []
    found: list[tuple[str, Any] | None] = []
    for process in psutil.Process(os.getpid()).children():
        with suppress(psutil.Error):
            if process.name() == name:
                found.append((name, process))
    return found


def _lives(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
