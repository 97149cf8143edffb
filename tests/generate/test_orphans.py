"""A process that guards what it starts: its children end with it, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

PARENT = """
import subprocess, sys, time
from recaption.generate.orphans import kill_descendants_at_exit
kill_descendants_at_exit()
child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(3600)"])
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    """In a session of its own: the group that is ended must never be the tests'."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        yield process
        process.kill()


@pytest.mark.parametrize("how", ["kill", "end"])
def test_a_guarded_processes_children_end_with_it(parent: subprocess.Popen[str], how: str) -> None:
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    watchers = [process for process in psutil.Process(parent.pid).children() if process != child]
    assert child.is_running() and len(watchers) == 1
    if how == "kill":
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    else:
        parent.communicate(timeout=30)
    _, left = psutil.wait_procs([child, *watchers], timeout=30)
    assert not left, "neither the child nor the watcher is left"
