"""What a run writes beside its answers never stops it: a thread of its own, bounds, and words about a silent store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from recaption.errors import Interrupted, StoreError
from recaption.run.monitor.background import Background, StoreWatch
from recaption.threads import waited


class Gate:
    """A job that waits until the gate is open."""

    def __init__(self) -> None:
        self.begun, self._open = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.begun.set()
        assert self._open.wait(120)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    found = Gate()
    yield found
    found.open()


def test_jobs_run_in_order_and_the_newest_of_a_name_replaces_the_others(gate: Gate) -> None:
    ran: list[str] = []

    def note(text: str) -> Callable[[], None]:
        return lambda: ran.append(text)

    background = Background()
    background.add(gate)
    assert gate.begun.wait(120)
    background.latest("progress", note("old state"))
    for text in ("line 1", "line 2"):
        assert background.add(note(text))
    background.latest("progress", note("new state"))
    gate.open()
    assert background.close(120)
    assert ran == ["line 1", "line 2", "new state"]


def test_waiting_jobs_are_bounded(gate: Gate) -> None:
    background = Background(room=2)
    background.add(gate)
    assert gate.begun.wait(120)
    assert [background.add(lambda: None) for _ in range(4)] == [True, True, False, False]
    gate.open()
    assert background.close(120)


def test_closing_does_not_wait_for_a_silent_store(gate: Gate) -> None:
    background = Background()
    background.add(gate)
    assert background.close(0.01) is False


def test_silence_is_measured_from_the_start_of_the_waiting_write(gate: Gate) -> None:
    clock = [100.0]
    background = Background(clock=lambda: clock[0])
    assert background.silent == 0.0
    background.add(gate)
    assert gate.begun.wait(120)
    clock[0] = 142.0
    assert background.silent == 42.0
    gate.open()
    assert background.close(120) and background.silent == 0.0


def test_a_failing_store_is_silent_until_a_write_succeeds() -> None:
    clock, done = [0.0], threading.Event()

    def fails() -> None:
        clock[0] += 20.0
        raise StoreError("cannot write")

    background = Background(clock=lambda: clock[0])
    background.latest("progress", fails)
    background.add(done.set)  # not a put: it says nothing about the store
    assert done.wait(120)
    while background.silent != 20.0:
        time.sleep(0.001)
    background.latest("progress", lambda: None)
    assert background.close(120) and background.silent == 0.0


def test_a_silent_store_is_reported_repeatedly_and_when_it_answers() -> None:
    said: list[str] = []
    watch = StoreWatch("s3://bucket/out", said.append)
    ended = [watch.update(seconds) for seconds in (0.0, 9.0, 10.5, 15.0, 39.0, 41.0, 0.0, 0.0, 11.0)]
    assert said == [
        "the store has not answered for 10 s: s3://bucket/out. The run waits for it",
        "the store has not answered for 41 s: s3://bucket/out. The run waits for it",
        "the store answers again, after 41 s",
        "the store has not answered for 11 s: s3://bucket/out. The run waits for it",
    ]
    assert [each for each in ended if each] == [41.0]


def test_the_result_of_a_call_is_returned() -> None:
    assert waited(lambda: 7) == 7
    with pytest.raises(StoreError, match="cannot read"):
        waited(lambda: (_ for _ in ()).throw(StoreError("cannot read")))


def test_a_stop_interrupts_a_call_that_does_not_return(gate: Gate) -> None:
    with pytest.raises(Interrupted):
        waited(gate, lambda: gate.begun.is_set(), grace=0.0)


def test_a_call_that_ends_soon_after_a_stop_counts() -> None:
    go = threading.Event()

    def stopping() -> bool:
        go.set()
        return True

    assert waited(lambda: go.wait(120), stopping, grace=120.0) is True
