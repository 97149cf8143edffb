"""Histograms of how long a step took, with fixed buckets, so that those of several engines can be added."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

BOUNDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Upper bounds of the buckets in seconds, inclusive; the last bucket has no bound."""


@dataclass(slots=True)
class Histogram:
    """Counts per bucket, and the sum of all values in seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    def merged(self, other: Histogram) -> Histogram:
        """The sum of both."""
        counts = [mine + more for mine, more in zip(self.counts, other.counts, strict=True)]
        return Histogram(counts, self.total + other.total)

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Bounds with the number of values that are not larger; the last bound is infinite."""
        yield from zip((*BOUNDS, float("inf")), accumulate(self.counts), strict=True)
