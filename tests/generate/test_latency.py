"""Latency histograms."""

from __future__ import annotations

import math

from recaption.generate.latency import BOUNDS, Histogram


def test_values_fall_into_the_bucket_whose_bound_includes_them() -> None:
    histogram = Histogram()
    for seconds in (0.0, 0.01, 0.011, 600.0, 601.0):
        histogram.add(seconds)
    found = dict(histogram.cumulative())
    assert [found[0.01], found[0.025], found[300.0], found[600.0], found[math.inf]] == [2, 3, 3, 4, 5]
    assert len(found) == len(BOUNDS) + 1 and histogram.total == 1201.021


def test_histograms_of_engines_add_up_without_changing_them() -> None:
    one, other = Histogram(), Histogram()
    one.add(0.2)
    other.add(0.2)
    other.add(20.0)
    both = one.merged(other)
    assert both.total == 20.4 and sum(both.counts) == 3 and sum(one.counts) == 1 and sum(other.counts) == 2
