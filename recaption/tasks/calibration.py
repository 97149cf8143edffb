"""The probability that a statement is true, computed from p(yes), the statement's least probable token, or both."""

from __future__ import annotations

import math
from typing import Annotated, Final

from pydantic import Field

from recaption.section import Section

EVEN: Final = 0.02
"""A lowest token probability that speaks neither for nor against a statement."""
_Factor = Annotated[float, Field(allow_inf_nan=False)]


class Calibration(Section):
    """ln(p_true / (1 - p_true)) = bias + ask ln(p / (1 - p)) + likelihood ln(l / 0.02), with the terms of the method.

    p is the probability of yes, l the lowest token probability. The defaults leave p unchanged. They are not fitted to
    a model: fit the three numbers by a logistic regression on labelled sentences.
    """

    bias: _Factor = Field(0.0, description="Added to the logarithm of the odds")
    ask: _Factor = Field(1.0, description="Factor of the answer's log-odds")
    likelihood: _Factor = Field(1.0, description="Factor of the logarithm of the lowest token probability / 0.02")


def joined(p_yes: float | None, likelihood: float | None, calibration: Calibration) -> float:
    """The probability that a statement is true; see `Calibration`. An argument is None if it was not asked for."""
    if likelihood is None and p_yes is not None and (calibration.bias, calibration.ask) == (0, 1):
        return p_yes
    odds = calibration.bias
    if p_yes is not None:
        p = min(max(p_yes, 1e-9), 1 - 1e-9)
        odds += calibration.ask * math.log(p / (1 - p))
    if likelihood is not None:
        odds += calibration.likelihood * math.log(max(likelihood, 1e-12) / EVEN)
    return 0.5 + 0.5 * math.tanh(odds / 2)
