from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from recaption.threads import each


def test_results_come_in_order() -> None:
    second = threading.Event()

    def call(n: int) -> int:
        if n == 0:
            second.wait()
        elif n == 1:
            second.set()
        return n * n

    assert list(each(call, range(20), 2)) == [n * n for n in range(20)]
    assert list(each(call, [], 2)) == []


def test_an_error_is_raised_in_its_place() -> None:
    def call(n: int) -> int:
        if n == 2:
            raise ValueError("two")
        return n

    results = each(call, range(1000), 1)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def to_the_process() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def to_this_thread() -> None:
    """Nothing wakes the main thread, which waits by then, as if the signal had arrived just before it began to wait."""
    time.sleep(0.1)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)


@pytest.mark.parametrize("press", [to_the_process, to_this_thread])
def test_ctrl_c_does_not_wait_for_calls(press: Callable[[], None]) -> None:
    free, stuck = threading.Event(), threading.Event()

    def call(_: int) -> None:
        press()
        free.wait()
        stuck.set()

    with pytest.raises(KeyboardInterrupt):
        list(each(call, range(3), 1))
    assert not stuck.is_set()
    free.set()


def test_the_interpreter_exits_while_a_call_is_running() -> None:
    code = """
import os, signal, time
from recaption.threads import each
def call(n):
    if n == 0:  # a second signal could come while the first is handled
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(600)
try:
    list(each(call, range(9), 4))
except KeyboardInterrupt:
    print("left")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (0, "left\n"), done.stderr
