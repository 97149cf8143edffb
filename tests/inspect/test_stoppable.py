from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from recaption.errors import Abandoned
from recaption.inspect import stoppable as module
from recaption.inspect.sql import fetch
from recaption.inspect.stoppable import closing, stoppable


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class Connection:
    """What `stoppable` and `closing` need of one. A query ends at the interrupt with the number `reacts_to`."""

    def __init__(self, reacts_to: int = 1) -> None:
        self.interrupts = 0
        self.closed = False
        self.ended = threading.Event()
        self._reacts_to = reacts_to

    def interrupt(self) -> None:
        self.interrupts += 1
        if self.interrupts == self._reacts_to:
            self.ended.set()

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def handler_is_kept() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("presses", [1, 2, 5])
@pytest.mark.parametrize("reacts_to", [1, 3])
def test_the_query_ends_and_its_end_is_waited_for(presses: int, reacts_to: int) -> None:
    connection: Any = Connection(reacts_to)
    ended = []

    def query() -> None:
        for _ in range(presses):
            press()
        connection.ended.wait()
        ended.append(True)
        raise RuntimeError("interrupted")

    with pytest.raises(KeyboardInterrupt) as caught:
        stoppable(connection, query)
    assert ended and connection.interrupts >= reacts_to
    assert not isinstance(caught.value, Abandoned)


def test_a_query_that_does_not_react_is_left_at_the_next_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.0)
    connection: Any = Connection()
    noted, free, left = threading.Event(), threading.Event(), threading.Event()
    monkeypatch.setattr(connection, "interrupt", noted.set)

    def query() -> None:
        press()
        noted.wait()
        press()
        free.wait()
        left.set()

    with pytest.raises(Abandoned), closing(connection):
        stoppable(connection, query)
    assert not left.is_set() and not connection.closed
    free.set()
    assert left.wait(120)


def test_a_connection_is_closed_after_other_errors() -> None:
    connection: Any = Connection()
    with pytest.raises(KeyboardInterrupt), closing(connection):
        raise KeyboardInterrupt
    assert connection.closed


def test_what_the_call_returns_and_raises() -> None:
    with duckdb.connect() as connection:
        assert fetch(connection, "SELECT ? + 1", [41]) == [(42,)]
        with pytest.raises(duckdb.CatalogException):
            fetch(connection, "FROM nowhere")


def test_a_real_query_is_stopped() -> None:
    endless = "SELECT count(*) FROM range(100000000) a, range(100000) b WHERE (a.range * b.range) % 7 = 3"
    with duckdb.connect() as connection:

        def query() -> None:
            press()
            connection.execute(endless)

        with pytest.raises(KeyboardInterrupt):
            stoppable(connection, query)
        assert connection.execute("SELECT 1").fetchall() == [(1,)]


def test_a_handler_of_the_program_is_called() -> None:
    called = []
    connection: Any = Connection()

    def query() -> None:
        press()
        connection.ended.wait()

    before = signal.signal(signal.SIGINT, lambda *_: called.append(True))
    try:
        with pytest.raises(KeyboardInterrupt):
            stoppable(connection, query)
    finally:
        signal.signal(signal.SIGINT, before)
    assert called == [True]


@pytest.mark.parametrize("ignored", [True, False])
def test_without_ctrl_c_the_call_is_made_in_this_thread(ignored: bool) -> None:
    found: list[threading.Thread] = []

    def call() -> None:
        stoppable(Connection(), lambda: found.append(threading.current_thread()))

    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if ignored else signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=call)
    try:
        if ignored:
            call()
        else:
            thread.start()
            thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert found == [threading.current_thread() if ignored else thread]


STUCK = """
import sys, time, types
from recaption import inspect
from recaption.inspect import connect, run_sql, stoppable
from recaption.inspect.stoppable import closing

def nap(n: int) -> int:
    print("working", flush=True)
    time.sleep(600)
    return n

def note() -> float:
    print("pressed", flush=True)
    return next(times)

def output_sql(outs, sql, form, console):
    with closing(connect(outs[0], unsafe=True)) as connection:
        connection.create_function("nap", nap)
        run_sql(connection, "SELECT nap(1)", unsafe=True)

times = iter((0.0, 2.0))
stoppable.time = types.SimpleNamespace(monotonic=note)
inspect.output_sql = output_sql
from recaption.cli import main
sys.exit(main(["inspect", sys.argv[1], "SELECT 1"]))
"""


def test_the_process_ends_though_a_query_does_not(dataset: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUCK, str(dataset)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        try:
            assert process.stdout.readline() == "working\n"
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "pressed\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(120) == 75
            assert process.stderr.read().startswith("interrupted:")
        finally:
            process.kill()
