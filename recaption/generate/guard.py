"""What an engine starts must not outlive its actor: orphaned, it keeps the GPU's memory, and the next run finds none.

vLLM's engine has a process of its own that does not notice when its parent is killed. Ray ends the process group of an
actor that dies, but only while its daemon lives: not after a kill -9 of the driver, which takes that with it.
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


def end_with_this_process() -> None:
    """From now on, what this process starts is killed when it ends, however it ends.

    Only for a process of one's own: it is made the leader of a process group, as Ray's workers are, and the whole group
    goes. A child that leaves the group is not found.
    """
    process = os.getpid()
    if os.getpgrp() != process:
        os.setpgid(0, 0)
    nothing = subprocess.DEVNULL
    watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WATCH, str(process)],
        start_new_session=True,  # out of the group: it has to outlive it
        stdin=nothing,
        stdout=nothing,
        stderr=nothing,
    )
    _watchers.append(watcher)
