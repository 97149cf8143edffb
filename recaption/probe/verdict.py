"""Decides whether one arm is better than another: metrics of runs, a two-level bootstrap, and the rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Outcomes = npt.NDArray[np.float64]
"""[seeds, queries]: the result of each run for each query. `fine` and `d'`: the margin, which is the score of the true
text minus that of the wrong one. `R@1`: 1 if the image was found, else 0."""

LEAST_SEEDS: Final = 5
_RESAMPLES: Final = 1_000
_AT_ONCE: Final = 50  # resamples; bounds memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Arm A against arm B on one metric of one slice; positive differences are in favour of A."""

    metric: str
    difference: float
    deviations: tuple[float, float]  # standard deviations over seeds
    interval: tuple[float, float]  # 95 %, over seeds and queries
    better: bool | None  # True: A, False: B, None: no difference seen
    visible: float  # differences up to this are not visible to this probe


@dataclass(frozen=True, kw_only=True, slots=True)
class Controls:
    """The control arms on one metric of one slice."""

    again: float  # absolute difference between the first arm and its control with other draws
    faults: tuple[str, ...]  # why the probe cannot be trusted here

    @property
    def in_order(self) -> bool:
        return not self.faults


def of_seeds(metric: str, outcomes: Outcomes) -> npt.NDArray[np.float64]:
    """The metric of each seed.

    fine: the share of positive margins; a margin of 0 counts half. d': mean margin / standard deviation over queries.
    R@1: the share of images found first.
    """
    return _weighted(metric, outcomes, np.full((1, outcomes.shape[1]), 1 / outcomes.shape[1]))[0]


def controls(
    metric: str, first: Outcomes, again: Outcomes, corrupted: Outcomes, others: Outcomes, *, images: int
) -> Controls:
    """Check the order first arm > corrupted > other images, and that the last is at chance.

    `images`: number of images that R@1 chooses from. At chance means: `fine` is .45 to .55, R@1 is at most .5 % or
    three images. d' is not checked for chance.
    """
    means = [float(of_seeds(metric, one).mean()) for one in (first, corrupted, others)]
    faults = []
    if not means[0] > means[1]:
        faults.append(f"the first arm ({means[0]:.3f}) is not above its corrupted copy ({means[1]:.3f})")
    if not means[1] > means[2]:
        faults.append(f"the corrupted copy ({means[1]:.3f}) is not above sentences of other images ({means[2]:.3f})")
    if metric == "fine" and not 0.45 <= means[2] <= 0.55:
        faults.append(f"sentences of other images are at {means[2]:.3f}, not at chance (.45 to .55)")
    if metric == "R@1" and means[2] > max(0.005, 3 / images):
        faults.append(f"sentences of other images find {means[2]:.1%} of the images; chance is {1 / images:.1%}")
    gap = abs(means[0] - float(of_seeds(metric, again).mean()))
    return Controls(again=gap, faults=tuple(faults))


def compare(metric: str, a: Outcomes, b: Outcomes, checked: Controls) -> Comparison:
    """Compare two arms. One is better only if all of these hold:

    - There are at least 5 seeds, and the controls are in order.
    - The interval of the difference excludes 0.
    - The difference exceeds twice the larger standard deviation over seeds.
    - It exceeds the difference between the first arm and its control `again`, which only draws other texts.

    a, b: [seeds, queries], rows of the same seeds and columns of the same queries.
    """
    of_a, of_b = of_seeds(metric, a), of_seeds(metric, b)
    difference = float(of_a.mean() - of_b.mean())
    deviations = _deviation(of_a), _deviation(of_b)
    low, high = interval(metric, a, b)
    visible = max(2 * max(deviations), (high - low) / 2, checked.again)
    seen = (
        len(a) >= LEAST_SEEDS
        and abs(difference) > 2 * max(deviations)
        and not low <= 0 <= high
        and abs(difference) > checked.again
        and checked.in_order
    )
    return Comparison(
        metric=metric,
        difference=difference,
        deviations=deviations,
        interval=(low, high),
        better=difference > 0 if seen else None,
        visible=visible,
    )


def interval(metric: str, a: Outcomes, b: Outcomes) -> tuple[float, float]:
    """The 95 % interval of the difference by a two-level bootstrap: seeds and queries are both drawn with replacement,
    the same ones for both arms. Equal for equal outcomes."""
    rng = np.random.default_rng(0)
    seeds, queries = a.shape
    found = []
    for _ in range(_RESAMPLES // _AT_ONCE):
        of_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), _AT_ONCE) / seeds
        of_query = rng.multinomial(queries, np.full(queries, 1 / queries), _AT_ONCE) / queries
        found.append((of_seed * (_weighted(metric, a, of_query) - _weighted(metric, b, of_query))).sum(1))
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return float(low), float(high)


def _deviation(values: npt.NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else float("inf")


def _weighted(metric: str, outcomes: Outcomes, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The metric for each row of weights of queries [W, queries] and each seed: [W, seeds]."""
    if metric == "fine":
        return np.asarray(weights @ ((outcomes > 0) + 0.5 * (outcomes == 0)).T)
    mean = weights @ outcomes.T
    if metric == "R@1":
        return np.asarray(mean)
    variance = np.maximum(weights @ np.square(outcomes).T - mean**2, 0)
    return np.asarray(np.divide(mean, np.sqrt(variance), out=np.zeros_like(mean), where=variance > 0))
