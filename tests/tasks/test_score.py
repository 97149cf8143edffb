"""recaption.tasks.score: what is scored, the engine's numbers, and F-CLIPScore."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from typing import Any

import pytest
from task_units import IMAGE, answered, caption, completion, generation, inputs, parsed, tag, with_sub

from recaption import prompt, schema
from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.base import WHOLE_IMAGE, Unit, UnitAnswer
from recaption.tasks.output import Output
from recaption.tasks.score import SCORES, ScoreTask

LONG = with_sub(caption("A kite flies.", "A boy runs."), 0, tags=(tag("kite"), tag("sky"), tag("sea", "absent")))


def task(**settings: Any) -> ScoreTask:
    made = registry.load("score", settings)
    assert isinstance(made, ScoreTask)
    return made


def texts(made: ScoreTask, *captions: Any) -> dict[str, str]:
    return {unit.id: unit.variables["text"] for unit in made.units(IMAGE, inputs(*captions))}


def value(*scores: float, is_cut: bool = False) -> dict[str, Any]:
    return {"scores": list(scores), "is_cut": is_cut}


def table(made: ScoreTask, units: list[Unit], values: list[Any]) -> list[Any]:
    rows = made.rows(generation("clip"), IMAGE, {}, answered(units, values))
    assert rows.captions == ()
    return list(rows.tables["scores"])


def test_captions_sub_captions_and_objects_are_scored_in_order() -> None:
    assert list(texts(task(), LONG, caption("A dog sits.", name="short")).items()) == [
        ("long/0", "A kite flies. A boy runs."),
        ("long/0#0", "A kite flies."),
        ("long/0#0:kite", "kite"),
        ("long/0#0:sky", "sky"),
        ("long/0#1", "A boy runs."),
        ("long/0#1:runs", "runs"),
        ("short/0", "A dog sits."),
        ("short/0#0", "A dog sits."),
        ("short/0#0:sits", "sits"),
    ]


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ("captions", ["long/0"]),
        (["sub_captions"], ["long/0#0", "long/0#1"]),
        (["objects", "captions", "captions"], ["long/0", "long/0#0:kite", "long/0#0:sky", "long/0#1:runs"]),
    ],
)
def test_the_settings_choose_what_is_scored(of: Any, expected: list[str]) -> None:
    made = task(of=of)
    assert list(texts(made, LONG)) == expected
    assert made.identity() == task().identity() == {}


def test_an_object_that_a_sentence_names_twice_is_scored_once() -> None:
    made = with_sub(LONG, 0, tags=(tag("kite"), tag("kite")))
    assert list(texts(task(of="objects"), made)) == ["long/0#0:kite", "long/0#1:runs"]


@pytest.mark.parametrize("given", [{}, inputs(caption()), inputs(replace(caption(), text=" \n"))])
def test_images_without_texts_have_no_units(given: Any) -> None:
    assert list(task().units(IMAGE, given)) == []


def test_the_request_is_the_text_alone() -> None:
    assert task().output(None) == Output(scores=True)
    shipped = prompt.load("text")
    assert shipped.granularity is None
    assert shipped.fill_in({"text": "A sign: {{ text }}"}) == "A sign: {{ text }}"


@pytest.mark.parametrize(
    ("scores", "finish", "expected"),
    [
        ((0.25, 25.0), "stop", value(0.25, 25.0)),
        ((0.25, 25.0), "length", value(0.25, 25.0, is_cut=True)),
        ((-1,), "stop", value(-1.0)),
    ],
)
def test_the_value_has_the_numbers_of_the_engine(scores: Any, finish: str, expected: Any) -> None:
    found = parsed(task(), WHOLE_IMAGE, completion("", finish, scores=scores))
    assert (found.finish, found.value) == ("stop", expected)


@pytest.mark.parametrize("scores", [None, (), (math.nan, 1.0), (0.5, math.inf), ("high",), (None,), ((0.1, 0.2),)])
@pytest.mark.parametrize("finish", ["stop", "length"])
def test_what_is_no_finite_number_is_a_fault(scores: Any, finish: str) -> None:
    found = task().parse(WHOLE_IMAGE, completion("A dog.", finish, scores=scores))
    assert (found.finish, found.value) == ("invalid", None)
    assert found.detail is not None and found.detail.startswith("the engine returned the scores ")


@pytest.mark.parametrize("finish", ["error", "refusal", "repetition", None])
def test_a_completion_that_did_not_end_is_a_fault(finish: Any) -> None:
    found = task().parse(WHOLE_IMAGE, completion("", finish, scores=(0.5, 1.0)))
    assert (found.finish, found.value) == ("error", None)


def test_a_row_is_about_a_caption_a_sub_caption_or_an_object() -> None:
    made = task()
    units = list(made.units(IMAGE, inputs(LONG)))
    values = [value(0.5, 5.0, is_cut=True), value(0.25, 4.0), value(0.1, 1.0), value(0.1, 2.5), None, value(0.3, 3.0)]
    rows = table(made, units, values)
    assert [(row["caption_id"], row["sub_id"], row["object"], row["score"]) for row in rows] == [
        ("k/long/0", None, None, 0.5),
        ("k/long/0", "k/long/0#0", None, 0.25),
        ("k/long/0", "k/long/0#0", "kite", 0.1),
        ("k/long/0", "k/long/0#0", "sky", 0.1),
        ("k/long/0", "k/long/0#1", "runs", 0.3),
    ]
    assert [row["is_cut"] for row in rows] == [True, False, False, False, False]
    # The sentence about a boy has no answer. The caption has one, and so have its three objects.
    assert [row["f_clip_score"] for row in rows] == [pytest.approx(2.875), pytest.approx(2.5), None, None, None]
    assert {row["model"] for row in rows} == {"judge"}
    for row in rows:
        assert list(row) == SCORES.columns.names
    assert schema.task_table("scores", SCORES.columns).names[:3] == ["key", "generation", "caption_id"]


def test_f_clip_score_needs_the_sentence_and_all_of_its_objects() -> None:
    made = task(of=["sub_captions", "objects"])
    units = list(made.units(IMAGE, inputs(LONG)))
    rows = table(made, units, [value(0.2, 4.0), value(0.1, 1.0), None, value(0.2, 6.0), value(0.2, 2.0)])
    assert {row["sub_id"]: row["f_clip_score"] for row in rows if row["object"] is None} == {
        "k/long/0#0": None,
        "k/long/0#1": pytest.approx(4.0),
    }


@pytest.mark.parametrize(
    ("sky", "expected"),
    [(2.0, (6.0 + 1.0 + 2.0) / 3), (None, None)],  # sentences have no part in it, and an object counts once
)
def test_f_clip_score_of_a_caption_needs_all_of_its_objects(sky: float | None, expected: float | None) -> None:
    twice = with_sub(LONG, 1, tags=(tag("kite"),))
    made = task(of=["captions", "objects"])
    units = list(made.units(IMAGE, inputs(twice)))
    assert [unit.id for unit in units] == ["long/0", "long/0#0:kite", "long/0#0:sky", "long/0#1:kite"]
    kite = value(0.1, 1.0)
    rows = table(made, units, [value(0.2, 6.0), kite, None if sky is None else value(0.1, sky), kite])
    assert rows[0]["f_clip_score"] == (None if expected is None else pytest.approx(expected))
    assert not any(row["f_clip_score"] for row in rows[1:])


def test_f_clip_score_of_a_sentence_without_objects_is_its_logit() -> None:
    made = task(of=["sub_captions", "objects"])
    units = list(made.units(IMAGE, inputs(with_sub(caption("It is grey."), 0, tags=()))))
    (row,) = table(made, units, [value(0.2, 4.0)])
    assert row["f_clip_score"] == 4.0


def test_without_objects_there_is_no_f_clip_score() -> None:
    made = task(of="sub_captions")
    rows = table(made, list(made.units(IMAGE, inputs(LONG))), [value(0.2, 4.0), value(0.2, 6.0)])
    assert [row["f_clip_score"] for row in rows] == [None, None]


def test_one_number_has_no_logit() -> None:
    made = task(of=["sub_captions", "objects"])
    units = list(made.units(IMAGE, inputs(caption("A dog sits."))))
    sentence, noun = table(made, units, [value(0.2), value(0.4)])
    assert (sentence["score"], sentence["logit"], sentence["f_clip_score"]) == (0.2, None, pytest.approx(0.3))
    assert (noun["score"], noun["logit"]) == (0.4, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"of": []}, "of: "),
        ({"of": "pixels"}, "of.0: Input should be 'captions', 'sub_captions' or 'objects'"),
        ({"on": "objects"}, "on: unknown key; allowed here: embed, of"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        registry.load("score", settings)
    assert str(error.value).startswith(f"task score: {message}")


def embeds(made: ScoreTask, *captions: Any) -> dict[str, Any]:
    return {u.id: (u.embeds, u.variables.get("text")) for u in made.units(IMAGE, inputs(*captions)) if u.embeds}


def test_the_image_and_texts_are_embedded_on_request() -> None:
    assert embeds(task(), LONG) == {}
    assert embeds(task(embed="images"), LONG) == {"embedding:image": ("image", None)}
    assert embeds(task(of=[], embed=["sub_captions", "images"]), LONG) == {
        "embedding:image": ("image", None),
        "embedding:long/0#0": ("text", "A kite flies."),
        "embedding:long/0#1": ("text", "A boy runs."),
    }
    made = task(embed=["captions"])
    assert embeds(made, LONG) == {"embedding:long/0": ("text", "A kite flies. A boy runs.")}
    assert texts(task(), LONG).items() <= {u.id: u.variables["text"] for u in made.units(IMAGE, inputs(LONG))}.items()


def test_embeddings_need_requests_without_an_image_only_for_texts() -> None:
    assert task(embed="images").needs == task().needs == {"image"}
    assert task(embed="captions").needs == {"image", "text"}
    assert task(embed="images").output(None) == Output(scores=True, embeddings=True)
    assert task(embed=["images", "captions"]).identity() == {}


def test_an_embedding_is_stored_as_float16() -> None:
    found = parsed(task(), Unit(embeds="text"), completion("", "length", scores=(0.5, -1.0, 65504.0)))
    assert (found.finish, found.value) == ("stop", {"is_cut": True})
    assert found.embedding == struct.pack("<3e", 0.5, -1.0, 65504.0)


@pytest.mark.parametrize("scores", [None, (), (math.nan, 1.0), (0.5, 70000.0)])
def test_a_vector_that_float16_cannot_hold_is_a_fault(scores: Any) -> None:
    found = task().parse(Unit(embeds="image"), completion("", scores=scores))
    assert (found.finish, found.embedding) == ("invalid", None)


def test_embeddings_have_the_ids_of_what_they_are_about() -> None:
    made = task(of=[], embed=["images", "captions", "sub_captions"])
    units = list(made.units(IMAGE, inputs(LONG)))
    stored = [
        UnitAnswer(unit=a.unit, answer=None if a.answer is None else replace(a.answer, embedding=bytes([n])))
        for n, a in enumerate(answered(units, [{"is_cut": False}, {"is_cut": False}, None, {"is_cut": False}]))
    ]
    rows = made.rows(generation("clip"), IMAGE, {}, stored)
    assert rows.embeddings == {"k": b"\0", "k/long/0": b"\1", "k/long/0#1": b"\3"}
    assert rows.tables == {"scores": []}
