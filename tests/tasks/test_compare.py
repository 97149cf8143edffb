"""recaption.tasks.compare: both orders of two captions, and who wins."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from task_units import IMAGE, answered, completion, generation, parsed

from recaption import prompt
from recaption.tasks import registry
from recaption.tasks.compare import COMPARISONS
from recaption.tasks.output import Output

TASK = registry.load("compare", {})
PAIR = replace(IMAGE, columns={"caption_a": "A red kite.", "caption_b": "A kite in the sky."})
EQUAL = replace(IMAGE, columns={"caption_a": "A kite.", "caption_b": "A kite."})


def test_each_pair_is_asked_about_in_both_orders() -> None:
    units = TASK.units(PAIR, {})
    assert [(unit.id, *unit.variables.values()) for unit in units] == [
        ("ab", "A red kite.", "A kite in the sky."),
        ("ba", "A kite in the sky.", "A red kite."),
    ]
    assert TASK.output(None) == Output(choices=("1", "2"), logprobs=True)
    text = prompt.load("better_caption").fill_in(units[0].variables)
    assert text.index("Caption 1: A red kite.") < text.index("Caption 2: A kite in the sky.")


def test_an_answer_is_the_probability_of_the_first_caption() -> None:
    (unit, _) = TASK.units(PAIR, {})
    found = parsed(TASK, unit, completion("1", choices=(math.log(0.6), math.log(0.2))))
    assert found.value == pytest.approx({"p_first": 0.75, "coverage": 0.8})
    assert parsed(TASK, unit, completion(" 2.")).value == {"p_first": 0.0, "coverage": None}
    assert TASK.parse(unit, completion("1", choices=(math.log(0.2), math.log(0.2)))).finish == "unclear"
    assert TASK.parse(unit, completion("Both are good.")).finish == "invalid"


@pytest.mark.parametrize(
    ("a_shown_first", "b_shown_first", "winner"),
    [
        (0.9, 0.4, "a"),  # p_first of the second order is the probability of B
        (0.2, 0.7, "b"),
        (0.9, 0.9, "tie"),  # always the first one
        (0.1, 0.1, "tie"),
        (0.5, 0.2, "tie"),
        (0.9, None, None),
        (None, None, None),
    ],
)
def test_a_winner_is_preferred_in_both_orders(a_shown_first: Any, b_shown_first: Any, winner: str | None) -> None:
    values = [None if p is None else {"p_first": p, "coverage": 1.0} for p in (a_shown_first, b_shown_first)]
    found = TASK.rows(generation("better"), PAIR, {}, answered(TASK.units(PAIR, {}), values))
    (row,) = found.tables["comparisons"]
    assert list(row) == COMPARISONS.columns.names
    assert (row["winner"], row["words_a"], row["words_b"]) == (winner, 3, 5)
    assert row["p_a_first"] == a_shown_first
    assert row["p_b_first"] == (None if b_shown_first is None else pytest.approx(1 - b_shown_first))


def test_equal_captions_are_not_judged() -> None:
    assert TASK.units(EQUAL, {}) == ()
    rows = TASK.rows(generation("better"), EQUAL, {}, [])
    assert rows.tables["comparisons"][0]["winner"] == "equal"
    assert TASK.has_result([], rows)
    assert not TASK.has_result(answered(TASK.units(PAIR, {}), [None, None]), rows)


@pytest.mark.parametrize("columns", [{"caption_a": "A kite."}, {"caption_a": "A kite.", "caption_b": None}])
def test_an_image_without_a_caption_is_rejected(columns: dict[str, str | None]) -> None:
    image = replace(IMAGE, columns=columns)
    with pytest.raises(ValueError, match="the image has no value in the column caption_b"):
        TASK.units(image, {})
    assert not TASK.rows(generation("better"), image, {}, []).tables
