"""recaption.tasks.review: sub-captions that a text model reads for content and repetitions."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from task_units import IMAGE, answered, caption, completion, generation, inputs, parsed

from recaption import prompt, schema
from recaption.engine.grammar import unsupported
from recaption.tasks import registry
from recaption.tasks.base import CAPTIONS
from recaption.tasks.review import REVIEWS, ReviewTask

LONG = caption("A dog\n runs.", "The mood is calm.", "It has a ball.")
SHORT = caption("A dog runs with a ball.", name="short")
GIVEN = inputs(LONG, SHORT)


def task(**settings: Any) -> ReviewTask:
    made = registry.load("review", settings)
    assert isinstance(made, ReviewTask)
    return made


TASK = task()
(UNIT,) = TASK.units(IMAGE, GIVEN)
NOTHING: dict[str, Any] = {"empty": [], "repeats": []}


def pairs(*found: tuple[int, int]) -> list[dict[str, int]]:
    return [{"sentence": sentence, "of": of} for sentence, of in found]


def test_one_request_has_all_sentences_of_an_image_without_the_image() -> None:
    assert TASK.needs == {"text"} and TASK.reads == {CAPTIONS} and not TASK.makes_captions
    assert UNIT.id == "" and UNIT.variables == {
        "sentences": ["A dog runs.", "The mood is calm.", "It has a ball.", "A dog runs with a ball."],
        "starts": [1, 4],
    }


def test_an_image_without_sub_captions_has_no_request() -> None:
    for given in (inputs(), inputs(replace(LONG, sub_captions=()))):
        assert TASK.units(IMAGE, given) == [] and TASK.rows(generation("r"), IMAGE, given, []).tables == {"reviews": []}


def test_the_prompt_numbers_the_sentences_and_marks_captions() -> None:
    shipped = prompt.load("review")
    text = shipped.fill_in(UNIT.variables)
    assert text.endswith(
        "The sentences:\n1: A dog runs.\n2: The mood is calm.\n3: It has a ball.\n(The next caption begins here.)\n"
        "4: A dog runs with a ball."
    )
    assert "When in doubt, it is not a repeat." in text and TASK.required == {"sentences"}
    (one,) = TASK.units(IMAGE, inputs(LONG))
    assert "next caption" not in shipped.fill_in(one.variables)
    many = {"sentences": ["A dog runs over a wide green field with flowers."] * 1000, "starts": [1, 500]}
    assert "\n1000: A dog" in shipped.fill_in(many)


def test_the_examples_in_the_prompt_are_valid_answers() -> None:
    text = prompt.load("review").template
    found = [json.loads(part) for part in text.replace(". If", "\n").splitlines() for part in _answers(part)]
    assert found[-1] == NOTHING and len(found) == 2 and found[0]["repeats"] == pairs((7, 2))


def _answers(line: str) -> list[str]:
    return [line[start:].rstrip(".") for start in [line.find('{"empty"')] if start >= 0]


def test_the_answer_is_json_that_grammars_support() -> None:
    form = TASK.output(None).json_schema
    assert form is not None and unsupported(form) is None and TASK.output(UNIT) == TASK.output(None)


def test_the_setting_applies_at_build() -> None:
    assert TASK.options.apply and not task(apply=False).options.apply
    assert task(apply=False).identity() == TASK.identity() == {}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (NOTHING, NOTHING),
        ({"empty": [2], "repeats": pairs((4, 1))}, {"empty": [2], "repeats": pairs((4, 1))}),
        ({"empty": [4, 2, 4], "repeats": []}, {"empty": [2, 4], "repeats": []}),
        (
            {"empty": [], "repeats": pairs((4, 3), (3, 2), (2, 1))},
            {"empty": [], "repeats": pairs((2, 1), (3, 1), (4, 1))},
        ),
        ({"empty": [1], "repeats": pairs((2, 1))}, {"empty": [1], "repeats": pairs((2, 1))}),
        ({"empty": [2.0], "repeats": [{"sentence": 4.0, "of": 1.0}]}, {"empty": [2], "repeats": pairs((4, 1))}),
    ],
)
def test_answers(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for text in (json.dumps(found), f"```json\n{json.dumps(found)}\n```"):
        made = parsed(TASK, UNIT, completion(text))
        assert (made.finish, made.detail) == ("stop", None)
        assert json.dumps(made.value) == json.dumps(expected), "whole numbers, each repetition of the first sentence"


@pytest.mark.parametrize(
    ("found", "detail"),
    [
        ({"empty": [5], "repeats": []}, "sentence 5 of `empty` does not exist; there are 4"),
        ({"empty": [0], "repeats": []}, "does not fit the JSON schema: 0 is less than the minimum of 1"),
        ({"empty": [1.5], "repeats": []}, "does not fit the JSON schema: 1.5 is not of type 'integer'"),
        ({"empty": [True], "repeats": []}, "does not fit the JSON schema: True is not of type 'integer'"),
        ({"empty": [], "repeats": pairs((5, 1))}, "sentence 5 of `repeats` does not exist; there are 4"),
        ({"empty": [], "repeats": pairs((2, 0))}, "does not fit the JSON schema: 0 is less than the minimum of 1"),
        ({"empty": [], "repeats": pairs((3, 3))}, "sentence 3 is said to repeat 3, which is not an earlier one"),
        ({"empty": [], "repeats": pairs((1, 4))}, "sentence 1 is said to repeat 4, which is not an earlier one"),
        ({"empty": [], "repeats": pairs((4, 1), (4, 2))}, "sentence 4 is listed twice in `repeats`"),
        ({"empty": [], "repeats": [[4, 1]]}, "does not fit the JSON schema"),
        ({"empty": []}, "does not fit the JSON schema: 'repeats' is a required property"),
        ({**NOTHING, "why": "x"}, "does not fit the JSON schema"),
        ([], "does not fit the JSON schema"),
    ],
)
def test_invalid_answers_say_what_is_wrong(found: Any, detail: str) -> None:
    made = parsed(TASK, UNIT, completion(json.dumps(found)))
    assert made.finish == "invalid" and made.value is None and detail in (made.detail or "")


@pytest.mark.parametrize(
    ("text", "finish", "expected", "reason"),
    [
        ("Sentence 2 has no content.", "stop", "invalid", None),
        ('{"empty": [2], "rep', "length", "invalid", "truncated_answer"),
        (json.dumps(NOTHING), "length", "invalid", "truncated_answer"),
        ("I'm sorry, I can't help with that.", "stop", "refusal", None),
        ("", "error", "error", None),
    ],
)
def test_answers_that_are_no_json(text: str, finish: str, expected: str, reason: str | None) -> None:
    made = parsed(TASK, UNIT, completion(text, finish))
    assert (made.finish, made.reason) == (expected, reason)


def test_each_sub_caption_that_was_read_has_a_row() -> None:
    values = [{"empty": [2], "repeats": pairs((4, 1))}]
    rows = TASK.rows(generation("read"), IMAGE, GIVEN, answered([UNIT], values)).tables["reviews"]
    assert [(row["sub_id"], row["is_meta"], row["dup_of"]) for row in rows] == [
        ("k/long/0#0", False, None),
        ("k/long/0#1", True, None),
        ("k/long/0#2", False, None),
        ("k/short/0#0", False, "k/long/0#0"),
    ]
    assert {(row["model"], row["prompt"]) for row in rows} == {("judge", "p")}
    columns = schema.task_table("reviews", REVIEWS.columns)
    pa.Table.from_pylist([{"key": "k", "generation": "read", **row} for row in rows], schema=columns).validate(
        full=True
    )


def test_an_image_whose_answer_was_rejected_has_no_rows() -> None:
    """Also one whose captions are split differently now: its answer has another identity."""
    assert TASK.rows(generation("read"), IMAGE, GIVEN, answered([UNIT], [None])).tables["reviews"] == []
