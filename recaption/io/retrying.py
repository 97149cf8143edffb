"""Asking a store again: a bounded number of tries, further and further apart."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from recaption.errors import StoreError

T = TypeVar("T")
LONGEST_WAIT = 10.0  # seconds


def retried(
    what: str,
    call: Callable[[], T],
    *,
    attempts: int,
    first_wait: float,
    passing: Callable[[Exception], bool],
    why: Callable[[Exception], str],
    kept: tuple[type[Exception], ...] = (),
) -> T:
    """The result of `call`, which is tried up to `attempts` times as long as its error is a `passing` one.

    `what` is a verb and its object ("write out/x.parquet"), `why` puts an error into words, `first_wait` is in
    seconds and doubles. Errors of the types in `kept` are answers, not failures, and come through as they are; all
    others end as a StoreError.
    """
    for attempt in range(1, attempts + 1):
        try:
            return call()
        except kept:
            raise
        except Exception as error:
            if attempt == attempts or not passing(error):
                tries = f" after {attempt} tries" if attempt > 1 else ""
                raise StoreError(f"cannot {what}{tries}: {why(error)}") from error
            # Jitter: hundreds of actors see the same failure at the same moment, and must not come back together.
            time.sleep(min(LONGEST_WAIT, first_wait * 2 ** (attempt - 1)) * (0.5 + random.random() / 2))
    raise AssertionError("unreachable")
