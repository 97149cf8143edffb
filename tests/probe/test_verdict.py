"""Metrics of runs, the two-level bootstrap, and every part of the rule for "better"."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from recaption.probe import verdict
from recaption.probe.verdict import Controls, compare, controls, interval, of_seeds

IN_ORDER = Controls(again=0.01, faults=())


def margins(mean: float, seeds: int = 5, queries: int = 400, noise: float = 0.001, seed: int = 0) -> npt.NDArray:
    """Margins whose queries differ by 1 and whose seeds differ by `noise`; equal `seed`s have the same queries."""
    rng = np.random.default_rng(seed)
    of_query = rng.normal(size=queries)
    return mean + of_query + noise * np.random.default_rng([seed, round(mean * 1e3)]).normal(size=(seeds, 1))


def test_metrics_of_a_seed() -> None:
    one = np.array([[1.0, -1.0, 0.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
    assert of_seeds("fine", one).tolist() == [0.625, 1.0]
    assert of_seeds("R@1", np.array([[1.0, 0.0, 0.0, 0.0]])).tolist() == [0.25]
    assert of_seeds("d'", one).tolist() == pytest.approx([0.5 / one[0].std(), 0.0])


@pytest.mark.parametrize("metric", ["fine", "d'"])
def test_a_clear_difference_is_seen_from_both_sides(metric: str) -> None:
    good, bad = margins(1.0), margins(0.5)
    found = compare(metric, good, bad, IN_ORDER)
    assert found.better is True
    assert found.interval[0] > 0
    other = compare(metric, bad, good, IN_ORDER)
    assert other.better is False
    assert other.difference == pytest.approx(-found.difference)


def test_each_part_of_the_rule_is_needed() -> None:
    good, bad = margins(1.0), margins(0.5)
    assert compare("d'", good, bad, IN_ORDER).better is True
    assert compare("d'", good[:4], bad[:4], IN_ORDER).better is None  # four seeds
    assert compare("d'", good, bad, Controls(again=0.9, faults=())).better is None  # as far apart as equal sets
    assert compare("d'", good, bad, Controls(again=0.01, faults=("a control",))).better is None
    noisy = [margins(mean, noise=1.0) for mean in (1.0, 0.5)]
    assert compare("d'", *noisy, IN_ORDER).better is None  # within two standard deviations
    few = [one[:, :3] for one in (good, margins(0.9))]
    assert compare("fine", *few, IN_ORDER).better is None  # the interval includes 0


def test_what_would_not_be_visible_is_reported() -> None:
    found = compare("d'", margins(1.0), margins(1.0), Controls(again=0.25, faults=()))
    assert (found.better, found.visible) == (None, 0.25)


def test_one_seed_gives_no_verdict() -> None:
    found = compare("fine", margins(1.0, seeds=1), margins(0.0, seeds=1), IN_ORDER)
    assert (found.better, found.visible) == (None, float("inf"))


def test_the_bootstrap_is_over_seeds_and_queries() -> None:
    """Against a loop that draws seeds and queries one by one."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.3, 1, (5, 60)), rng.normal(0.0, 1, (5, 60))
    found = []
    for _ in range(2_000):
        seeds, queries = rng.integers(5, size=5), rng.integers(60, size=60)
        some = [one[np.ix_(seeds, queries)] for one in (a, b)]
        found.append(of_seeds("d'", some[0]).mean() - of_seeds("d'", some[1]).mean())
    assert interval("d'", a, b) == pytest.approx(tuple(np.quantile(found, [0.025, 0.975])), abs=0.04)
    assert interval("d'", a, b) == interval("d'", a, b)


def test_the_rule_is_rarely_false_for_equal_arms() -> None:
    """Arms whose seeds and queries are drawn from one distribution: at most 2 % of their pairs are called better."""
    rng = np.random.default_rng(0)
    of_query = rng.normal(0.3, 1, 200)
    arms = [of_query + rng.normal(0, 0.05, (5, 1)) + rng.normal(0, 0.3, (5, 200)) for _ in range(20)]
    again = abs(of_seeds("fine", arms[0]).mean() - of_seeds("fine", arms[1]).mean())
    checked = Controls(again=float(again), faults=())
    called = [compare("fine", a, b, checked).better is not None for n, a in enumerate(arms) for b in arms[n + 1 :: 4]]
    assert sum(called) <= 0.02 * len(called)


def test_controls_have_to_be_in_order() -> None:
    good, some, none = margins(1.0), margins(0.5), margins(0.0)
    assert controls("fine", good, good, some, none, images=100).in_order
    assert "not above its corrupted copy" in controls("d'", some, some, good, none, images=100).faults[0]
    assert "not above sentences of other images" in controls("d'", good, good, none, some, images=100).faults[0]
    assert "not at chance" in controls("fine", margins(2.0), good, good, some, images=100).faults[0]
    found = [np.full((5, 1000), 0.0) for _ in range(3)]
    for one, share in zip(found, (900, 500, 100), strict=True):
        one[:, :share] = 1
    faults = controls("R@1", found[0], found[0], found[1], found[2], images=1000).faults
    assert faults == ("sentences of other images find 10.0% of the images; chance is 0.1%",)


def test_the_difference_to_the_same_arm_is_absolute() -> None:
    first, again = margins(1.0), margins(1.1)
    found = controls("d'", first, again, margins(0.5), margins(0.0), images=100)
    assert found.again == pytest.approx(abs(of_seeds("d'", first).mean() - of_seeds("d'", again).mean()))
    assert verdict.LEAST_SEEDS == 5
