"""recaption.tasks.verify_negatives: whether false sentences are false."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from task_units import IMAGE, answered, completion, generation, parsed

from recaption import prompt
from recaption.tasks import registry
from recaption.tasks.base import WHOLE_IMAGE, Upstream

TASK = registry.load("verify_negatives", {})
ROWS: list[Mapping[str, Any]] = [
    {"sub_id": "k/long/0#0", "text": "A blue kite."},
    {"sub_id": "k/long/0#0", "text": "A red goat."},
    {"sub_id": "k/long/0#0", "text": "A blue kite."},
    {"sub_id": "k/long/0#2", "text": "A blue kite."},
]
GIVEN = {"hard": Upstream(generation=generation("hard"), answers=(), tables={"negatives": ROWS})}


def test_each_different_text_of_a_sub_caption_is_one_request() -> None:
    units = TASK.units(IMAGE, GIVEN)
    assert [(unit.id, unit.variables["statement"]) for unit in units] == [
        ("long/0#0:0", "A blue kite."),
        ("long/0#0:1", "A red goat."),
        ("long/0#2:2", "A blue kite."),
    ]
    assert "A blue kite." in prompt.load("is_it_true").fill_in(units[0].variables)
    assert TASK.reads == {"negatives"} and TASK.needs == {"image"} and TASK.output(None).choices == ("yes", "no")


@pytest.mark.parametrize(
    ("yes", "no", "finish", "p_true"),
    [(0.1, 0.8, "stop", 1 / 9), (0.9, 0.1, "stop", 0.9), (0.1, 0.2, "unclear", None)],
)
def test_the_value_is_the_probability_of_yes(yes: float, no: float, finish: str, p_true: float | None) -> None:
    found = parsed(TASK, WHOLE_IMAGE, completion("no", choices=[math.log(yes), math.log(no)]))
    assert found.finish == finish
    assert found.value is None if p_true is None else found.value["p_true"] == pytest.approx(p_true)


def test_rows_name_the_text_and_its_sub_caption() -> None:
    values = [{"p_true": 0.2, "coverage": 1.0}, None, {"p_true": 0.9, "coverage": None}]
    rows = TASK.rows(generation("check"), IMAGE, GIVEN, answered(TASK.units(IMAGE, GIVEN), values)).tables
    assert rows["verified_negatives"] == [
        {"sub_id": "k/long/0#0", "text": "A blue kite.", "model": "judge", "p_true": 0.2, "coverage": 1.0},
        {"sub_id": "k/long/0#2", "text": "A blue kite.", "model": "judge", "p_true": 0.9, "coverage": None},
    ]
