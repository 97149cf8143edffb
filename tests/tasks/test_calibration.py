"""recaption.tasks.calibration: the tokens of a statement, and the join of both probabilities."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from recaption.tasks.calibration import Calibration, joined, lowest_probability

NO_CHANGE = Calibration()


def scored(*pieces: tuple[str, float]) -> Any:
    """A prompt of these tokens with their probabilities."""
    return SimpleNamespace(
        text="".join(text for text, _ in pieces),
        tokens=tuple(math.log(p) if p else -math.inf for _, p in pieces),
        nbytes=tuple(len(text.encode()) for text, _ in pieces),
    )


def test_the_lowest_probability_is_that_of_the_tokens_of_the_statement() -> None:
    prompt = scored(("Is it: ", 0.01), ("A", 0.5), (" red", 0.2), (" dog.", 0.6), (" Answer", 0.02))
    assert lowest_probability("A red dog.", prompt) == pytest.approx(0.2)
    assert lowest_probability("red", prompt) == pytest.approx(0.2)


def test_tokens_that_reach_into_the_statement_count() -> None:
    prompt = scored(("Is it: A", 0.1), (" dog", 0.5), (". Answer", 0.3))
    assert lowest_probability("A dog.", prompt) == pytest.approx(0.1)
    assert lowest_probability("dog.", prompt) == pytest.approx(0.3)


def test_bytes_count_not_characters() -> None:
    prompt = scored(("🪁🪁 ", 0.01), ("Ein", 0.4), (" Drachen über", 0.3), (" Bäumen.", 0.2), (" Ja?", 0.02))
    assert lowest_probability("Ein Drachen über Bäumen.", prompt) == pytest.approx(0.2)


def test_the_last_occurrence_counts_and_tokens_without_bytes_do_not() -> None:
    prompt = scored(("A dog.", 0.01), (" Is it: ", 0.9), ("", 0.001), ("A", 0.5), ("", 0.001), (" dog.", 0.4))
    assert lowest_probability("A dog.", prompt) == pytest.approx(0.4)


def test_an_impossible_token_has_probability_zero() -> None:
    assert lowest_probability("A dog.", scored(("A", 0.9), (" dog.", 0.0))) == 0.0


@pytest.mark.parametrize(
    "prompt",
    [
        None,
        scored(),
        scored(("A cat.", 0.5)),
        SimpleNamespace(text="A dog.", tokens=(math.nan,), nbytes=(6,)),
        SimpleNamespace(text="Is it: A dog.", tokens=(-1.0,), nbytes=(7,)),  # the engine scored only its beginning
    ],
)
def test_a_statement_without_log_probabilities_has_no_lowest_one(prompt: Any) -> None:
    assert lowest_probability("A dog.", prompt) is None


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
