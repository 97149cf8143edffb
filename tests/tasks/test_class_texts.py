"""recaption.tasks.class_texts: descriptions of classes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from task_units import IMAGE, answered, completion, generation, parsed

from recaption import prompt
from recaption.engine.grammar import unsupported
from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.base import Unit
from recaption.tasks.class_texts import ClassTextsTask

CLASS = replace(IMAGE, source_key="snowy owl")
UNIT = Unit(id="class", variables={"class_name": "snowy owl"})
GOOD = (
    "A large white bird with a round head and yellow eyes.",
    "Dark bars cross the wings of the young snowy owl.",
    "It often sits on a post in a flat, snow-covered field.",
)


def task(n: int = 2, spare: int = 1, **settings: Any) -> ClassTextsTask:
    made = registry.load("class_texts", {"n": n, "spare": spare, **settings})
    assert isinstance(made, ClassTextsTask)
    return made


def test_each_class_is_one_request() -> None:
    (unit,) = task(most_words=18, name="forbidden").units(CLASS, {})
    text = prompt.load("class_texts").fill_in(unit.variables)
    assert "Write 3 different" in text and "what snowy owl looks like" in text
    assert "at most 18 words" in text and 'No sentence contains the name "snowy owl"' in text
    plain = prompt.load("class_texts").fill_in(task().units(CLASS, {})[0].variables)
    assert "at most" not in plain and "the name" not in plain
    assert task().needs == {"text"} and not task().reads


def test_the_answer_is_json_that_grammars_support() -> None:
    schema = task(5, 2).output(None).json_schema
    assert schema is not None and unsupported(schema) is None
    assert (json.loads(schema)["minItems"], json.loads(schema)["maxItems"]) == (5, 7)


def test_the_value_has_exactly_n_texts() -> None:
    assert parsed(task(), UNIT, completion(json.dumps(GOOD))).value == {"texts": list(GOOD[:2])}
    assert parsed(task(3, 0), UNIT, completion(json.dumps(GOOD))).value == {"texts": list(GOOD)}


@pytest.mark.parametrize(
    ("settings", "bad", "problem"),
    [
        ({}, GOOD[0], "repeats another text"),
        ({}, GOOD[0].upper(), "repeats another text"),
        ({}, GOOD[0] + " Yes.", "repeats another text"),
        ({}, "Snowy owl", "is the name of the class"),
        ({}, " ", "has no words"),
        ({}, "...", "has no words"),
        ({"most_words": 11}, GOOD[1] + " It is cold there.", "has 14 words, and at most 11 are allowed"),
        ({"name": "required"}, GOOD[0], "lacks the name of the class"),
        ({"name": "forbidden"}, GOOD[1], "has the name of the class"),
    ],
)
def test_unusable_texts_are_replaced_by_spare_ones_or_make_the_answer_invalid(
    settings: dict[str, Any], bad: str, problem: str
) -> None:
    named = settings.get("name") == "required"
    good = ["A snowy owl on a post.", "White: the snowy owl."] if named else [GOOD[0], GOOD[2]]
    texts = [good[0], bad, good[1]]
    assert parsed(task(**settings), UNIT, completion(json.dumps(texts))).value == {"texts": good}
    found = parsed(task(**settings), UNIT, completion(json.dumps(texts[:2])))
    assert found.finish == "invalid" and f"1 of 2 texts can be used; {problem}" in str(found.detail)


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("A white bird. A round head.", "stop", "invalid"),
        ('["A white bird with yellow eyes."]', "stop", "invalid"),
        ('["a", "b", "c", "d"]', "stop", "invalid"),
        ('{"texts": []}', "stop", "invalid"),
        ('["A white', "length", "invalid"),
        ("I'm sorry, I can't help with that.", "stop", "refusal"),
    ],
)
def test_other_answers_are_not_used(text: str, finish: str, expected: str) -> None:
    assert parsed(task(), UNIT, completion(text, finish)).finish == expected


def test_rows_are_about_the_class() -> None:
    made = task()
    rows = made.rows(generation("texts"), CLASS, {}, answered([UNIT], [{"texts": list(GOOD[:2])}])).tables
    assert rows["class_texts"] == [
        {"class_name": "snowy owl", "rank": 0, "text": GOOD[0], "model": "judge"},
        {"class_name": "snowy owl", "rank": 1, "text": GOOD[1], "model": "judge"},
    ]
    rejected = answered([UNIT], [None])
    assert not made.has_result(rejected, made.rows(generation("texts"), CLASS, {}, rejected))


@pytest.mark.parametrize("settings", [{"n": 0}, {"overlap": 2}, {"name": "often"}, {"most_words": 0}])
def test_settings_that_are_not_allowed(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="task class_texts: "):
        registry.load("class_texts", settings)
