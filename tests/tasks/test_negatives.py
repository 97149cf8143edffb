"""recaption.tasks.negatives: false sentences with one change, by rules or by a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from task_units import IMAGE, answered, caption, completion, generation, inputs, parsed, tag, with_sub

from recaption import prompt, schema
from recaption.engine.grammar import unsupported
from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.base import Rows, Unit
from recaption.tasks.negatives import NEGATIVES, NegativesTask
from recaption.tasks.output import TEXT
from recaption.tasks.rule_changes import VERSION
from recaption.types import Tag

KITE = "A red kite flies over a dog."
NEG = generation("negs", prompt="negatives")
UNIT = Unit(id="long/0#0", variables={"statement": KITE, "number": 3, "categories": ["attribute", "object"]})
GOOD = (
    ("A blue kite flies over a dog.", "attribute"),
    ("A red balloon flies over a dog.", "object"),
    ("A red kite flies under a dog.", "relation"),
)


def task(**settings: Any) -> NegativesTask:
    made = registry.load("negatives", settings)
    assert isinstance(made, NegativesTask)
    return made


def model(n: int = 2, spare: int = 1, **settings: Any) -> NegativesTask:
    return task(method="model", n=n, spare=spare, **settings)


def texts(*items: tuple[str, str]) -> str:
    return json.dumps([{"text": text, "category": category} for text, category in items])


def check(rows: Sequence[Any]) -> None:
    head = {"key": "k", "generation": "negs"}
    table = schema.task_table("negatives", NEGATIVES.columns)
    pa.Table.from_pylist([head | dict(row) for row in rows], schema=table).validate(full=True)
    assert all(row.keys() == set(NEGATIVES.columns.names) for row in rows)


def test_rules_make_rows_without_requests() -> None:
    kite = Tag(lemma="kite", text="red kite", char_start=2, char_end=10, attributes=("red",), count=1)
    dup = with_sub(caption(KITE, KITE, "It is quiet."), 0, tags=(kite,))
    given = inputs(with_sub(with_sub(dup, 1, dup_of="k/long/0#0"), 2, tags=(tag("calm", "abstract"),)))
    made = task(n=3)
    assert list(made.units(IMAGE, given)) == [] and made.output(None) == TEXT
    rows = made.rows(NEG, IMAGE, given, []).tables["negatives"]
    check(rows)
    assert len(rows) == 3 and {(row["sub_id"], row["method"]) for row in rows} == {("k/long/0#0", "rules")}
    for row in rows:
        new = row["text"][row["changed_start"] : row["changed_end"]]
        assert row["text"].replace(new, row["replaced"], 1) == KITE
    only = task(categories=["attribute"]).rows(NEG, IMAGE, given, []).tables["negatives"]
    assert {row["category"] for row in only} == {"attribute"}


def test_what_another_caption_names_makes_nothing_false() -> None:
    kite = Tag(lemma="kite", text="red kite", char_start=2, char_end=10, attributes=("red",), count=1)
    long = with_sub(caption(KITE), 0, tags=(kite,))
    given = inputs(long, caption("A blue and green frisbee.", name="short"))
    rows = task(n=50).rows(NEG, IMAGE, given, []).tables["negatives"]
    assert rows and not [row for row in rows if {"blue", "green", "frisbee"} & set(row["text"].split())]


def test_a_model_is_asked_about_each_sub_caption_with_objects() -> None:
    given = inputs(with_sub(caption(KITE, "It is quiet."), 1, tags=()))
    (unit,) = model(10, 2, categories=["object"]).units(IMAGE, given)
    assert unit.id == "long/0#0"
    assert dict(unit.variables) == {"statement": KITE, "number": 12, "categories": ["object"]}
    text = prompt.load("negatives").fill_in(unit.variables)
    assert KITE in text and "Write 12 different versions" in text and "Kinds of changes: object." in text


def test_only_settings_of_the_requests_are_part_of_the_identity() -> None:
    assert task(n=3).identity() == task().identity() == {"method": "rules", "rules": VERSION}
    assert model(3).identity() != model(4).identity()
    assert model().needs == {"text"} and task().needs == frozenset()


def test_the_answer_is_json_that_grammars_support() -> None:
    output = model(10, 2).output(None)
    assert output.json_schema is not None and unsupported(output.json_schema) is None
    assert json.loads(output.json_schema)["minItems"] == 10 and json.loads(output.json_schema)["maxItems"] == 12


def test_the_value_has_exactly_n_changes() -> None:
    found = parsed(model(), UNIT, completion(texts(*GOOD)))
    assert found.finish == "stop" and len(found.value["changes"]) == 2
    rows = model().rows(NEG, IMAGE, {}, answered([UNIT], [found.value])).tables["negatives"]
    check(rows)
    assert dict(rows[0]) == {
        "sub_id": "k/long/0#0",
        "text": "A blue kite flies over a dog.",
        "category": "attribute",
        "changed_start": 2,
        "changed_end": 6,
        "replaced": "red",
        "method": "model",
    }
    assert model().rows(NEG, IMAGE, {}, answered([UNIT], [None])).tables["negatives"] == []


@pytest.mark.parametrize(
    "bad",
    [
        (KITE, "attribute"),
        ("a blue kite flies over a dog", "attribute"),  # the first one again
        ("A kite flies over a dog.", "attribute"),
        ("A dog flies over a red kite.", "object"),
        ("A red kite does not fly over a dog.", "action"),
        ("", "object"),
    ],
)
def test_a_spare_sentence_replaces_an_unusable_one(bad: tuple[str, str]) -> None:
    found = parsed(model(), UNIT, completion(texts(GOOD[0], bad, GOOD[1])))
    assert [item["text"] for item in found.value["changes"]] == [GOOD[0][0], GOOD[1][0]]
    found = parsed(model(), UNIT, completion(texts(GOOD[0], bad)))
    assert (found.finish, found.value) == ("invalid", None)
    assert found.detail is not None and found.detail.startswith("1 of 2 sentences can be used: ")


def test_the_kind_of_a_change_is_that_of_its_words() -> None:
    given = completion(texts((GOOD[0][0].removesuffix(".").lower(), "object"), GOOD[1], GOOD[2]))
    found = parsed(model(3, 0), UNIT, given)
    assert [(c["text"], c["category"]) for c in found.value["changes"]] == [*GOOD]
    found = parsed(model(3, 0, categories=["object"]), UNIT, completion(texts(*[(text, "object") for text, _ in GOOD])))
    problem = "'A blue kite flies over a dog.' is a change of attribute, which categories lacks"
    assert found.detail == f"1 of 3 sentences can be used: {problem}"


def test_ten_equal_sentences_are_invalid() -> None:
    found = parsed(model(10, 0), UNIT, completion(texts(*[GOOD[0]] * 10)))
    assert (found.finish, found.detail) == ("invalid", "1 of 10 sentences can be used: the others repeat these")


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("A blue kite flies over a dog.", "stop", "invalid"),
        (texts(GOOD[0]), "stop", "invalid"),  # too few
        (texts(*GOOD, ("A red kite lies over a dog.", "action")), "stop", "invalid"),  # too many
        (texts(GOOD[0], ("A red kite flies over a cat.", "colour")), "stop", "invalid"),
        (texts(*GOOD)[:-5], "length", "invalid"),
        ("", "empty", "empty"),
        ("I'm sorry, I can't help with that.", "stop", "refusal"),
    ],
)
def test_other_answers_are_faults(text: str, finish: str, expected: str) -> None:
    found = parsed(model(), UNIT, completion(text, finish))
    assert (found.finish, found.value) == (expected, None)


@pytest.mark.parametrize("settings", [{"method": "llm"}, {"n": 0}, {"categories": []}, {"categories": ["colour"]}])
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^task negatives: "):
        task(**settings)


def test_an_image_has_a_result_if_there_are_rows() -> None:
    made = registry.load("negatives", {})
    assert not made.has_result((), Rows(tables={"negatives": []}))
    assert made.has_result((), Rows(tables={"negatives": [{}]}))
