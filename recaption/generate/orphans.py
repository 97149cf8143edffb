"""Kills the processes that an engine has started when its actor ends. Orphaned, they would keep the GPU's memory.

vLLM's engine runs in a separate process that does not notice when its parent is killed. Ray kills the process group
of an actor that dies, but only while Ray's daemon is alive; kill -9 of the driver takes the daemon down with it.
"""

from __future__ import annotations

import os
import subprocess
import sys

_WATCH = """
import os, signal, sys, time
process = int(sys.argv[1])
while os.getppid() == process:
    time.sleep(0.5)
os.killpg(process, signal.SIGKILL)
"""
_watchers: list[subprocess.Popen[bytes]] = []


def kill_descendants_at_exit() -> None:
    """Start a watcher that kills this process's group as soon as this process has ended, for whatever reason.

    Makes this process the leader of a new process group unless it leads one already, as Ray's workers do. A descendant
    that leaves the group is not killed.
    """
    process = os.getpid()
    if os.getpgrp() != process:
        os.setpgid(0, 0)
    nothing = subprocess.DEVNULL
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WATCH, str(process)],
        start_new_session=True,  # outside the group, which it has to outlive
        stdin=nothing,
        stdout=nothing,
        stderr=nothing,
    )
    _watchers.append(watcher)
