"""Repeats a call that failed: a bounded number of attempts, with growing pauses."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LONGEST_WAIT = 10.0  # seconds


def retried(
    call: Callable[[], T],
    *,
    attempts: int,
    first_wait: float,
    is_transient: Callable[[Exception], bool],
    failure: Callable[[Exception, str], Exception],
    expected: tuple[type[Exception], ...] = (),
) -> T:
    """The result of `call`, which is made up to `attempts` times while its errors are transient.

    The pause after the first failure is `first_wait` seconds, reduced by up to a half at random; later ones double.
    Errors of the types in `expected` are results and pass through. Any other final error `e` is replaced by
    `failure(e, tries)`, in which `tries` is " after 3 tries", or "" after one.
    """
    for attempt in range(1, attempts + 1):
        try:
            return call()
        except expected:
            raise
        except Exception as error:
            if attempt == attempts or not is_transient(error):
                raise failure(error, f" after {attempt} tries" if attempt > 1 else "") from error
            # Random: hundreds of actors see the same failure at the same moment and must not retry together.
            time.sleep(min(LONGEST_WAIT, first_wait * 2 ** (attempt - 1)) * (0.5 + random.random() / 2))
    raise AssertionError("unreachable")
