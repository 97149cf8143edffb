"""Engine utilisation: which share of its maximum rate an engine reached, and what limited it for the rest.

An engine's maximum rate is its rate in windows in which its waiting queue was never empty: it had more work than it
could start, so nothing but the engine limited it. This needs no calibration run. A window in which the queue ran empty
is charged to the stage that held most of the work on its way to the engine.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from recaption.generate.latency import Histogram

STAGES: Final = ("read", "decode", "render", "queue", "engine", "put")
SATURATED: Final = "saturated"
MIN_SECONDS = 3.0  # of saturated windows; with less there is no maximum rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Where:
    """Images on their way to an engine at one moment, by stage."""

    reading: int  # assigned, not read
    rendering: int  # read, not rendered
    ready: int  # rendered, not in the engine
    decode_share: float = 0.0  # of the time that rendering takes


class MeterReport(BaseModel):
    """A meter as `metrics/` holds it: rates of all engines together, shares of the maximum rate, seconds per stage."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    share: float | None = None  # of the maximum rate, in tokens
    tokens_per_second: float | None = None
    requests_per_second: float | None = None
    ceiling_tokens_per_second: float | None = None  # the maximum rate
    ceiling_requests_per_second: float | None = None
    saturated_seconds: float = 0.0
    seconds: float = 0.0
    lost: dict[str, float] = Field(default_factory=dict)  # stage -> share of the maximum rate
    stages: dict[str, float] = Field(default_factory=dict)  # stage -> seconds per request

    @property
    def losses(self) -> list[tuple[str, float]]:
        """Stages with their shares, the largest first."""
        return sorted(self.lost.items(), key=lambda item: -item[1])


@dataclass(kw_only=True, slots=True)
class Meter:
    """Sums over the windows and requests of one engine; meters of several engines can be added."""

    seconds: Counter[str] = field(default_factory=Counter)  # "saturated" or a stage -> seconds
    tokens: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)  # stage -> seconds that requests spent in it
    counted: Counter[str] = field(default_factory=Counter)  # stage -> requests
    latency: dict[str, Histogram] = field(default_factory=dict)  # stage -> durations of its calls

    def window(self, seconds: float, tokens: int, requests: int, *, saturated: bool, where: Where) -> None:
        """Add one window: its length, and the tokens and requests that the engine finished in it."""
        for cause, share in ({SATURATED: 1.0} if saturated else _limits(where)).items():
            self.seconds[cause] += seconds * share  # type: ignore[assignment]
            self.tokens[cause] += tokens * share  # type: ignore[assignment]
            self.requests[cause] += requests * share  # type: ignore[assignment]

    def spent(self, stage: str, seconds: float, requests: int = 1) -> None:
        """Add the time that `requests` have spent in `stage`, together."""
        self.stages[stage] += seconds  # type: ignore[assignment]
        self.counted[stage] += requests

    def took(self, stage: str, seconds: float) -> None:
        """Add one call of `stage` to its latencies: a request to the engine, a read of images, a put of answers."""
        self.latency.setdefault(stage, Histogram()).add(seconds)

    def add(self, other: Meter) -> None:
        for stage, histogram in other.latency.items():
            self.latency[stage] = self.latency.get(stage, Histogram()).merged(histogram)
        for name in ("seconds", "tokens", "requests", "stages", "counted"):
            mine, more = getattr(self, name), getattr(other, name)
            for key, value in more.items():
                mine[key] += value

    @property
    def ceiling(self) -> float | None:
        """The maximum rate in tokens per second of one engine; None until saturated windows are MIN_SECONDS long."""
        return None if self.seconds[SATURATED] < MIN_SECONDS else _rate(self.tokens[SATURATED], self.seconds[SATURATED])

    @property
    def share(self) -> float | None:
        """Share of the maximum rate that was reached; None while that is unknown."""
        return self.tokens.total() / self.seconds.total() / self.ceiling if self.ceiling else None

    def lost(self) -> dict[str, float]:
        """Stage -> share of the maximum rate that was lost there. With `share` they sum up to 1."""
        ceiling = self.ceiling
        if not ceiling:
            return {}
        total = self.seconds.total()
        return {
            cause: (seconds - self.tokens[cause] / ceiling) / total
            for cause, seconds in sorted(self.seconds.items())
            if cause != SATURATED and seconds
        }

    def report(self, engines: int = 1) -> MeterReport:
        """The figures for `engines` engines that ran side by side."""
        known, total, saturated = self.share is not None, self.seconds.total(), self.seconds[SATURATED]
        return MeterReport(
            share=_rounded(self.share),
            tokens_per_second=_rounded(_rate(self.tokens.total(), total), engines),
            requests_per_second=_rounded(_rate(self.requests.total(), total), engines),
            ceiling_tokens_per_second=_rounded(self.ceiling if known else None, engines),
            ceiling_requests_per_second=_rounded(
                _rate(self.requests[SATURATED], saturated) if known else None, engines
            ),
            saturated_seconds=round(saturated, 3),
            seconds=round(total, 3),
            lost={cause: round(share, 4) for cause, share in self.lost().items()},
            stages={s: round(self.stages[s] / self.counted[s], 6) for s in STAGES if self.counted[s]},
        )


def _limits(where: Where) -> dict[str, float]:
    """What limited the engine, with shares: the stage nearest to the engine that holds any work."""
    if where.ready:
        return {"engine": 1.0}
    if where.rendering:
        return {"decode": where.decode_share, "render": 1.0 - where.decode_share}
    return {"read": 1.0} if where.reading else {"queue": 1.0}


def _rate(count: float, seconds: float) -> float | None:
    return count / seconds if seconds else None


def _rounded(value: float | None, times: int = 1) -> float | None:
    return None if value is None else round(value * times, 4)
