"""The circuit breaker: a run that goes wrong stops after a thousand images, not after days."""

from __future__ import annotations

from collections import Counter, deque

from recaption.config import Breaker
from recaption.errors import CircuitOpen


class CircuitBreaker:
    """Looks at the last `window` settled questions; fed with sums, in whatever steps they come."""

    def __init__(self, settings: Breaker) -> None:
        self._settings = settings
        self._steps: deque[tuple[int, int, Counter[str]]] = deque()  # settled, degenerate, rejects by reason
        self._settled = self._degenerate = 0
        self._rejects: Counter[str] = Counter()
        self._before: tuple[int, int, Counter[str]] = (0, 0, Counter())

    def observe(self, settled: int, degenerate: int, rejects: Counter[str]) -> None:
        """Sums since the run began: answered or rejected, those that were degenerate, and rejects by reason.

        Raises CircuitOpen when a full window has more than its share of either.
        """
        was_settled, was_degenerate, was_rejects = self._before
        step = settled - was_settled, degenerate - was_degenerate, rejects - was_rejects
        if step[0] <= 0:
            return
        self._before = settled, degenerate, Counter(rejects)
        self._steps.append(step)
        self._settled += step[0]
        self._degenerate += step[1]
        self._rejects += step[2]
        # A step goes only as a whole, so what is looked at is the window or a little more.
        while self._settled - self._steps[0][0] >= self._settings.window:
            gone = self._steps.popleft()
            self._settled -= gone[0]
            self._degenerate -= gone[1]
            self._rejects -= gone[2]
        if self._settled < self._settings.window:
            return
        self._judge("were rejected", self._rejects.total(), self._settings.rejects, "breaker.rejects")
        self._judge("were degenerate", self._degenerate, self._settings.degenerate, "breaker.degenerate")

    def _judge(self, what: str, count: int, allowed: float, key: str) -> None:
        if count <= allowed * self._settled:
            return
        reasons = ", ".join(f"{reason} {n}" for reason, n in self._rejects.most_common(3))
        raise CircuitOpen(
            f"the run was stopped: {count} of the last {self._settled} questions {what}, more than {key} = {allowed:g} "
            f"allows{f' ({reasons})' if reasons else ''}. Answers so far are kept; look at the rejects with recaption "
            f"inspect, mend the cause, and run again (--set {key}=1 switches this off)"
        )
