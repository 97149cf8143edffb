"""The circuit breaker: stops a run with too many rejects after a thousand results instead of after days.

Its thresholds are the section `breaker` of a pipeline, `recaption.config.Breaker`.
"""

from __future__ import annotations

from collections import Counter, deque

from recaption.config import Breaker
from recaption.errors import CircuitOpen


class CircuitBreaker:
    """Checks the last `window` answers and rejects. Gets running totals, in steps of any size."""

    def __init__(self, settings: Breaker) -> None:
        self._settings = settings
        self._steps: deque[tuple[int, int, Counter[str]]] = deque()  # items, degenerate ones, rejects by reason
        self._items = self._degenerate = 0
        self._rejects: Counter[str] = Counter()
        self._before: tuple[int, int, Counter[str]] = (0, 0, Counter())

    def observe(self, items: int, degenerate: int, rejects: Counter[str]) -> None:
        """Totals since the start of the run: answers and rejects, degenerate ones, rejects by reason.

        Rejects `not_in_table` do not count: nothing was sent for them, and a table may name a part of a folder. Raises
        CircuitOpen if a full window has more rejects or degenerate texts than the pipeline allows.
        """
        rejects, items = rejects.copy(), items - rejects["not_in_table"]
        del rejects["not_in_table"]
        items_before, degenerate_before, rejects_before = self._before
        step = items - items_before, degenerate - degenerate_before, rejects - rejects_before
        if step[0] <= 0:
            return
        self._before = items, degenerate, rejects
        self._steps.append(step)
        self._items += step[0]
        self._degenerate += step[1]
        self._rejects += step[2]
        # Whole steps are dropped, so the checked range is the window or a little more.
        while self._items - self._steps[0][0] >= self._settings.window:
            oldest = self._steps.popleft()
            self._items -= oldest[0]
            self._degenerate -= oldest[1]
            self._rejects -= oldest[2]
        if self._items < self._settings.window:
            return
        self._check("were rejected", self._rejects.total(), self._settings.rejects, "breaker.rejects")
        self._check("were degenerate", self._degenerate, self._settings.degenerate, "breaker.degenerate")

    def _check(self, what: str, count: int, allowed: float, key: str) -> None:
        if count <= allowed * self._items:
            return
        reasons = ", ".join(f"{reason} {n}" for reason, n in self._rejects.most_common(3))
        raise CircuitOpen(
            f"the run was stopped: {count} of the last {self._items} results {what}, more than "
            f"{key} = {allowed:g} allows{f' ({reasons})' if reasons else ''}. Stored answers are kept; look at the "
            f"rejects with recaption inspect, remove the cause, and run again (--set {key}=1 disables this check)"
        )
