"""The speed-of-light meter: what share of its own rate an engine reached, and where the rest went.

The ceiling is the engine's own rate over the windows in which its waiting queue was never empty: it had more to do than
it could take on, so nothing but itself held it back. No calibration, no GPU that waits for one. A window in which the
queue ran empty is charged to the stage that most of the work on its way was stuck in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Cause = Literal["read", "decode", "render", "queue", "engine"]
STAGES: Final = ("read", "decode", "render", "queue", "engine", "put")
SATURATED: Final = "saturated"
MIN_SECONDS = 3.0  # of saturated windows, below which there is no ceiling to speak of


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """Images on their way to an engine at one moment, and whether more is to come."""

    reading: int  # handed out, not read
    rendering: int  # read, not rendered
    ready: int  # rendered, not in the engine
    decode_share: float = 0.0  # of the time that rendering takes


@dataclass(kw_only=True, slots=True)
class Meter:
    """Sums over one engine's windows and requests; of several engines they are added up."""

    seconds: Counter[str] = field(default_factory=Counter)  # saturated or a Cause -> seconds
    tokens: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)  # stage -> seconds that requests spent in it
    counted: Counter[str] = field(default_factory=Counter)  # stage -> requests

    def window(self, seconds: float, tokens: int, requests: int, *, saturated: bool, where: Where) -> None:
        """One window of an engine: its length, and what the engine finished in it."""
        for cause, share in ({SATURATED: 1.0} if saturated else _causes(where)).items():
            self.seconds[cause] += seconds * share  # type: ignore[assignment]
            self.tokens[cause] += tokens * share  # type: ignore[assignment]
            self.requests[cause] += requests * share  # type: ignore[assignment]

    def spent(self, stage: str, seconds: float, requests: int = 1) -> None:
        """`requests` were in `stage` for so long, together."""
        self.stages[stage] += seconds  # type: ignore[assignment]
        self.counted[stage] += requests

    def add(self, other: Meter) -> None:
        for name in ("seconds", "tokens", "requests", "stages", "counted"):
            mine, more = getattr(self, name), getattr(other, name)
            for key, value in more.items():
                mine[key] += value

    @property
    def share(self) -> float | None:
        """Share of the ceiling reached, in tokens; None while no ceiling was seen."""
        ceiling = _rate(self.tokens[SATURATED], self.seconds[SATURATED])
        if not ceiling or self.seconds[SATURATED] < MIN_SECONDS:
            return None
        return (self.tokens.total() / self.seconds.total()) / ceiling

    def lost(self) -> dict[str, float]:
        """Cause -> share of the ceiling that went there; with `share` they make 1."""
        ceiling = _rate(self.tokens[SATURATED], self.seconds[SATURATED])
        if not ceiling or self.share is None:
            return {}
        total = self.seconds.total()
        return {
            cause: (seconds - self.tokens[cause] / ceiling) / total
            for cause, seconds in sorted(self.seconds.items())
            if cause != SATURATED and seconds
        }

    def report(self, engines: int = 1) -> dict[str, Any]:
        """As it stands in `metrics/`: rates of all engines together, shares, seconds per request and stage."""
        known = self.share is not None
        ceiling = [_rate(sums[SATURATED], self.seconds[SATURATED]) if known else None for sums in self._sums]
        tokens, requests = (_rate(sums.total(), self.seconds.total()) for sums in self._sums)
        return {
            "share": _rounded(self.share),
            "tokens_per_second": _rounded(tokens, engines),
            "requests_per_second": _rounded(requests, engines),
            "ceiling_tokens_per_second": _rounded(ceiling[0], engines),
            "ceiling_requests_per_second": _rounded(ceiling[1], engines),
            "saturated_seconds": round(self.seconds[SATURATED], 3),
            "seconds": round(self.seconds.total(), 3),
            "lost": {cause: round(share, 4) for cause, share in self.lost().items()},
            "stages": {s: round(self.stages[s] / self.counted[s], 6) for s in STAGES if self.counted[s]},
        }

    @property
    def _sums(self) -> Iterable[Counter[str]]:
        return self.tokens, self.requests


def _causes(where: Where) -> dict[str, float]:
    """Where the work is that the engine lacks, nearest to it first."""
    if where.ready:
        return {"engine": 1.0}
    if where.rendering:
        return {"decode": where.decode_share, "render": 1.0 - where.decode_share}
    return {"read": 1.0} if where.reading else {"queue": 1.0}


def _rate(count: float, seconds: float) -> float | None:
    return count / seconds if seconds else None


def _rounded(value: float | None, times: int = 1) -> float | None:
    return None if value is None else round(value * times, 4)
