"""The signals that ask a run to stop."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from recaption.supervise import Interrupts


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Tells whether SIGINT, SIGTERM or SIGHUP came. A SIGINT after one of these stops at once."""
    requested = False
    interrupts, heard = Interrupts(), 0

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested, heard
        if number == signal.SIGINT:
            if (sent := interrupts.arrived()) == heard:
                return  # the parent forwarded what the terminal has sent to this process, too
            heard = sent
            if requested:
                raise KeyboardInterrupt
        requested = True

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    try:
        before = {number: signal.signal(number, request) for number in numbers}
    except ValueError:  # not in the main thread: whoever runs us there handles signals
        before = {}
    try:
        yield lambda: requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
