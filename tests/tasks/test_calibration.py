"""recaption.tasks.calibration: the join of both probabilities."""

from __future__ import annotations

import math

import pytest

from recaption.tasks.calibration import Calibration, joined

NO_CHANGE = Calibration()


@pytest.mark.parametrize("p", [0.0, 1e-12, 0.3, 0.1 + 0.2, 1.0])
def test_the_default_leaves_the_probability_of_yes_unchanged(p: float) -> None:
    assert joined(p, None, NO_CHANGE) == p


@pytest.mark.parametrize("bias", [-1e6, 0.0, 1e6])
@pytest.mark.parametrize("p", [None, 0.0, 0.5, 1.0])
@pytest.mark.parametrize("likelihood", [None, 0.0, 1e-300, 1.0])
def test_a_joined_probability_is_one(bias: float, p: float | None, likelihood: float | None) -> None:
    assert 0 <= joined(p, likelihood, Calibration(bias=bias, ask=3, likelihood=2)) <= 1


def test_more_of_either_makes_a_statement_more_probable() -> None:
    rule = Calibration(bias=-0.5, ask=0.7, likelihood=1.5)
    assert joined(0.6, 0.1, rule) < joined(0.7, 0.1, rule) < joined(0.7, 0.2, rule)
    assert joined(0.6, 0.1, rule) == pytest.approx(
        1 / (1 + math.exp(0.5 - 0.7 * math.log(0.6 / 0.4) - 1.5 * math.log(0.1 / 0.02)))
    )
