"""recaption.tasks.rewrite: captions in other words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from task_units import IMAGE, answered, caption, completion, generation, inputs, parsed

from recaption import prompt
from recaption.engine.grammar import unsupported
from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.base import Unit
from recaption.tasks.rewrite import RewriteTask
from recaption.types import Caption

TEXT = "A red kite flies over the wide beach while a dog runs."
LONG = caption("A red kite flies over the wide beach while a dog runs.")
GOOD = (
    "While a dog runs, the beach lies wide below a flying kite that is red.",
    "There is a running dog; above it and the wide beach, one sees red: a kite.",
    "Over a beach, wide and bright, flew something red, the kite, chased by the dog.",
)
FACTS = ["red", "kite", "wide", "beach", "dog"]
PAIRS = [["red", "kite"], ["wide", "beach"]]
UNIT = Unit(id="long/0", variables={"caption": TEXT, "number": 3, "facts": FACTS, "pairs": PAIRS})
REWRITE = generation("again", granularity="long", prompt="rewrite")


def task(n: int = 2, spare: int = 1, **settings: Any) -> RewriteTask:
    made = registry.load("rewrite", {"n": n, "spare": spare, **settings})
    assert isinstance(made, RewriteTask)
    return made


def test_each_caption_is_one_request() -> None:
    given = inputs(LONG, caption("A dog.", name="short"))
    (unit,) = task().units(IMAGE, given)  # two words cannot be written in other words
    assert (unit.id, dict(unit.variables)) == ("long/0", {"caption": TEXT, "number": 3, "facts": ["runs"], "pairs": []})
    text = prompt.load("rewrite").fill_in(UNIT.variables)
    assert TEXT in text and "Write 3 texts" in text and "these words: red, kite, wide, beach, dog." in text
    assert "these words" not in prompt.load("rewrite").fill_in({**UNIT.variables, "facts": []})


def test_the_answer_is_json_that_grammars_support() -> None:
    schema = task(5, 2).output(None).json_schema
    assert schema is not None and unsupported(schema) is None
    assert (json.loads(schema)["minItems"], json.loads(schema)["maxItems"]) == (5, 7)


def test_the_rewrites_are_captions() -> None:
    short = caption("A small goat eats grass.", name="short", granularity="short", lang="en", finish_reason="length")
    given, made = inputs(LONG, short), task()
    units = made.units(IMAGE, given)
    values = [{"rewrites": list(GOOD[:2])}, {"rewrites": ["One.", "Two."]}]
    captions = made.rows(REWRITE, IMAGE, given, answered(units, values)).captions
    assert captions[0] == Caption(
        caption_id="k/again/0",
        generation="again",
        source="judge:rewrite",
        granularity="long",
        text=GOOD[0],
        finish_reason="stop",
    )
    assert [(c.caption_id, c.granularity, c.text, c.lang) for c in captions[2:]] == [
        ("k/again/2", "short", "One.", None),
        ("k/again/3", "short", "Two.", None),
    ]
    assert made.rows(REWRITE, IMAGE, given, answered(units, [None, None])).captions == ()
    assert made.rows(REWRITE, IMAGE, {}, answered(units, values)).captions == ()


def test_the_value_has_exactly_n_rewrites() -> None:
    assert parsed(task(), UNIT, completion(json.dumps(GOOD))).value == {"rewrites": list(GOOD[:2])}
    assert parsed(task(3, 0), UNIT, completion(json.dumps(GOOD))).value == {"rewrites": list(GOOD)}


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (TEXT, "shares 100% of its three-word sequences"),
        ("A red kite flies over the wide beach, and a dog runs.", "three-word sequences"),
        (GOOD[0], "shares 100%"),  # the first one again
        (GOOD[0].replace("red", "blue"), "lacks red"),
        (GOOD[0].replace("dog", "doghouse"), "lacks dog"),
        (
            "While a dog runs, a red beach lies below a flying, wide kite.",
            "contains 'red beach', which the caption does not",
        ),
        ("Red kite, wide beach, dog", "0.4 times the words"),
        ((GOOD[1] + " ") * 3, "times the words"),
        ("", "0.0 times the words"),
    ],
)
def test_a_spare_rewrite_replaces_an_unusable_one(bad: str, problem: str) -> None:
    assert parsed(task(), UNIT, completion(json.dumps([GOOD[0], bad, GOOD[1]]))).value == {"rewrites": list(GOOD[:2])}
    found = parsed(task(), UNIT, completion(json.dumps([GOOD[0], bad])))
    assert (found.finish, found.value) == ("invalid", None)
    assert found.detail is not None and found.detail.startswith("1 of 2 texts can be used; ")
    assert problem in found.detail


def test_the_bounds_are_settings() -> None:
    loose = parsed(task(overlap=1, kept=0.8), UNIT, completion(json.dumps([TEXT, GOOD[0].replace("red", "blue")])))
    assert loose.finish == "stop"


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        (GOOD[0], "stop", "invalid"),
        (json.dumps(GOOD[:1]), "stop", "invalid"),
        (json.dumps([*GOOD, "A dog."]), "stop", "invalid"),
        (json.dumps([1, 2]), "stop", "invalid"),
        (json.dumps(GOOD)[:-9], "length", "invalid"),
        ("", "empty", "empty"),
        ("I'm sorry, I can't help with that.", "stop", "refusal"),
    ],
)
def test_other_answers_are_faults(text: str, finish: str, expected: str) -> None:
    found = parsed(task(), UNIT, completion(text, finish))
    assert (found.finish, found.value) == (expected, None)


@pytest.mark.parametrize("settings", [{"n": 0}, {"overlap": 1.5}, {"kept": -0.1}])
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^task rewrite: "):
        task(**settings)
