"""Ray's daemon on this machine. Without it the driver reaches nothing, and Ray ends it without a word of ours."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import ray

from recaption.errors import ClusterError


class Raylet:
    """The daemon that this process is connected to. Where it cannot be found, nothing is checked."""

    def __init__(self) -> None:
        here = ray.get_runtime_context().get_node_id()
        sockets = [node["RayletSocketName"] for node in ray.nodes() if node["NodeID"] == here]
        self._process = _listening_at(sockets[0]) if sockets else None

    def check(self) -> None:
        """Raises ClusterError when it has ended. Cheap."""
        if self._process is not None and not _lives(self._process):
            raise ClusterError(
                "Ray's daemon on this machine (raylet) has ended: it was killed, or the machine ran out of memory. "
                "Answers so far are kept; run the same command again to continue"
            )


def _listening_at(socket: str) -> Any:
    """The raylet's process, whose command line names its socket."""
    try:
        import psutil
    except ImportError:
        return None
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.name() == "raylet" and f"--raylet_socket_name={socket}" in process.cmdline():
                return process
    return None


def _lives(process: Any) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
