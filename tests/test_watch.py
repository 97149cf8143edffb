"""A watched process: what it has started ends with it, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest

PARENT = """
import os, subprocess, sys
from recaption.watch import Watch
watch = Watch.of_this_process()
sleep = [sys.executable, "-S", "-c", "import time; time.sleep(3600)"]
in_group = subprocess.Popen(sleep, env={})
in_session = subprocess.Popen(sleep, start_new_session=True)
print(in_group.pid, in_session.pid, watch._mark, flush=True)
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


def watching(mark: str) -> list[psutil.Process]:
    processes = psutil.process_iter(["cmdline"])
    return [process for process in processes if f"{mark}=1" in (process.info["cmdline"] or ())]


@pytest.mark.parametrize("how", ["kill", "end"])
def test_all_that_a_watched_process_started_ends_with_it(parent: subprocess.Popen[str], how: str) -> None:
    assert parent.stdout is not None
    in_group, in_session, mark = parent.stdout.readline().split()
    children = [psutil.Process(int(in_group)), psutil.Process(int(in_session))]
    while not (watch := watching(mark)):  # a process that is being started has no command line for a moment
        time.sleep(0.01)
    assert {child.pid for child in psutil.Process(parent.pid).children(recursive=True)} == {c.pid for c in children}
    if how == "kill":
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    else:
        parent.communicate(timeout=120)
    _, left = psutil.wait_procs([*children, *watch], timeout=120)
    assert not left, "neither the children nor the process that watches are left"


def test_the_watch_ends_nothing_once_all_has_ended() -> None:
    program = PARENT.replace("start_new_session=True", "start_new_session=True, stdout=subprocess.DEVNULL")
    program = program.replace("env={}", "env={}, stdout=subprocess.DEVNULL").replace("sys.stdin.read()", "watch.end()")
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True)
    in_group, in_session, mark = done.stdout.split()
    children = [psutil.Process(int(in_group)), psutil.Process(int(in_session))]
    try:
        psutil.wait_procs(watching(mark), timeout=120)
        assert all(child.is_running() for child in children)
    finally:
        for child in children:
            child.kill()
