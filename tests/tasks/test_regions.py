"""recaption.tasks.regions: what a grounding model is asked, and the boxes of its answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
from task_units import IMAGE, answered, caption, completion, generation, inputs, parsed

from recaption import prompt
from recaption.engine.detector import phrases_of
from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.base import CAPTIONS, Unit
from recaption.tasks.box_formats import BoxFormat
from recaption.tasks.regions import RegionsTask
from recaption.types import Attempt, Detection

GIVEN = inputs(caption("A red kite flies above a dog.", "A kite."))  # objects: dog, kite
SIZED = replace(IMAGE, width=560, height=840, orientation=6)  # upright: 840 x 560
BOXES = generation("boxes", prompt="regions_qwen")
UNIT = Unit(id="phrases#0", variables={"phrases": ["dog", "kite"], "upright_size": [840, 560]})


def task(**settings: Any) -> RegionsTask:
    made = registry.load("regions", settings)
    assert isinstance(made, RegionsTask)
    return made


def qwen(*boxes: tuple[str, Sequence[float]]) -> str:
    return json.dumps([{"bbox_2d": corners, "label": label} for label, corners in boxes])


def rows(made: RegionsTask, *values: Any, image: Any = SIZED, share: float | None = None) -> list[dict[str, Any]]:
    answers = answered(made.units(image, GIVEN), [None if v is None else {"boxes": v} for v in values])
    if share is not None:
        attempt = Attempt(seed=0, temperature=0, finish_reason="stop", output_tokens=1, pixel_share=share)
        answers = [replace(a, answer=replace(a.answer, attempts=(attempt,))) for a in answers if a.answer]
    return [dict(row) for row in made.rows(BOXES, image, GIVEN, answers).tables["regions"]]


def test_one_request_has_all_phrases_of_an_image() -> None:
    (unit,) = task().units(SIZED, GIVEN)
    assert (unit.id, dict(unit.variables)) == ("phrases#0", dict(UNIT.variables))
    each = task(ask="phrase").units(SIZED, GIVEN)
    assert [(unit.id, unit.variables["phrases"]) for unit in each] == [("phrases#0", ["dog"]), ("phrases#1", ["kite"])]
    assert [unit.variables["phrases"] for unit in task(most_phrases=1).units(SIZED, GIVEN)] == [["dog"]]
    assert [unit.variables["phrases"] for unit in task(format="molmo").units(IMAGE, GIVEN)] == [["dog"], ["kite"]]
    assert list(task().units(SIZED, {})) == []


def test_labels_need_no_captions() -> None:
    made = task(labels=["tree", "car"])
    assert made.reads == frozenset() and task().reads == {CAPTIONS}
    assert [unit.variables["phrases"] for unit in made.units(SIZED, {})] == [["tree", "car"]]


def test_boxes_in_pixels_need_the_size_of_the_image() -> None:
    with pytest.raises(ValueError, match="size of the image, which is not known"):
        task().units(IMAGE, GIVEN)
    assert len(task(format="qwen3_vl").units(IMAGE, GIVEN)) == 1


@pytest.mark.parametrize("form", get_args(BoxFormat))
def test_each_format_has_a_prompt(form: BoxFormat) -> None:
    made = task(format=form)
    assert made.prompt is not None
    shipped = prompt.load(made.prompt)
    assert not shipped.missing(made.variables)
    text = shipped.fill_in(made.units(SIZED, GIVEN)[0].variables)
    assert "dog" in text and ("kite" in text) == (form not in ("internvl", "molmo", "kosmos2"))


def test_a_detector_reads_a_phrase_in_each_line() -> None:
    made = task(format="detector", of="noun_phrases")
    unit = made.units(SIZED, inputs(caption("A big dog barks.", "A kite.")))[0]
    assert made.prompt is not None and phrases_of(prompt.load(made.prompt).fill_in(unit.variables)) == ["barks", "kite"]


def test_the_prompt_of_qwen_lists_the_phrases() -> None:
    text = prompt.load("regions_qwen").fill_in(UNIT.variables)
    assert text.startswith('Locate every instance of each of these in the image: "dog", "kite".\n')


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "yolo"}, "format"),
        ({"format": "molmo", "ask": "image"}, "set ask: phrase"),
        ({"labels": ["a", "a"]}, "labels must differ"),
        ({"labels": [" "]}, "labels must differ and must not be blank"),
        ({"labels": ["a\nb"]}, "each label must be one line"),
        ({"threshold": 0.01}, "threshold: .*greater than or equal to 0.05"),
        ({"text_threshold": 1.5}, "text_threshold"),
        ({"overlap": 0}, "overlap"),
        ({"most": 0}, "most"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        task(**settings)


def test_settings_of_units_and_choice_do_not_change_the_answers() -> None:
    changed = task(overlap=0.5, most=1, max_pixels=10_000, threshold=0.5, text_threshold=0.4)
    assert changed.identity() == task().identity() == {"format": "qwen2_5_vl"}


def test_the_value_has_the_numbers_of_the_model() -> None:
    found = parsed(task(), UNIT, completion(qwen(("kite", [84, 0, 420, 280]), ("the dog", [420, 280, 840, 560]))))
    assert found.finish == "stop" and found.detail is None
    kept = [(item["phrase"], *item["numbers"]) for item in found.value["boxes"]]
    assert kept == [("kite", 84, 0, 420, 280), ("dog", 420, 280, 840, 560)]


def test_the_value_keeps_the_size_of_the_image_that_the_model_was_given() -> None:
    text = qwen(("kite", [224, 0, 448, 280]))
    found = parsed(task(), UNIT, completion(text, shown=(448, 280)))
    assert found.value["shown"] == [448, 280] and parsed(task(), UNIT, completion(text)).value.keys() == {"boxes"}
    unit = task().units(SIZED, GIVEN)
    (row,) = task().rows(BOXES, SIZED, GIVEN, answered(unit, [found.value])).tables["regions"]
    assert [row[edge] for edge in ("x0", "y0", "x1", "y1")] == [0.5, 0.0, 1.0, 1.0]
    # A box outside the image that was computed may be inside the one that was shown.
    beyond = qwen(("kite", [1000, 0, 1100, 280]))
    assert parsed(task(), UNIT, completion(beyond)).finish == "invalid"
    assert parsed(task(), UNIT, completion(beyond, shown=(1120, 560))).finish == "stop"


def test_an_image_without_the_objects_has_no_boxes() -> None:
    assert parsed(task(), UNIT, completion("[]")).value == {"boxes": []}


def test_dropped_boxes_are_counted() -> None:
    text = qwen(("kite", [0, 0, 99, 99]), ("bird", [0, 0, 9, 9]), ("dog", [9, 0, 9, 9]), ("dog", [0, 0, 1e9, 9]))
    found = parsed(task(), UNIT, completion(text))
    assert found.finish == "stop" and [item["phrase"] for item in found.value["boxes"]] == ["kite", "dog"]
    assert found.detail == ("dropped 3 of 4 boxes: 1 with another label, 1 unreadable, 1 without an area in the image")


def test_boxes_of_another_scale_are_named_as_such() -> None:
    text = qwen(("kite", [84, 900, 420, 999]), ("dog", [9, 0, 9, 9]))
    assert parsed(task(), UNIT, completion(text)).detail == (
        "dropped 2 of 2 boxes: 1 beyond the image, 1 without an area in the image. "
        "The model may not write boxes in the units of format qwen2_5_vl"
    )
    assert "units" not in parsed(task(), UNIT, completion(qwen(("dog", [9, 0, 9, 9])))).detail


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("The kite is at the top.", "stop", "invalid"),
        ("", "stop", "invalid"),
        (qwen(("bird", [0, 0, 9, 9])), "stop", "invalid"),
        (qwen(("kite", [99, 0, 9, 9]), ("dog", [900, 0, 999, 9])), "stop", "invalid"),
        ('[{"bbox_2d": [0, 0', "length", "invalid"),
        ("[]", "repetition", "repetition"),
        ("I'm sorry, I can't help with that.", "stop", "refusal"),
    ],
)
def test_other_answers_are_faults(text: str, finish: str, expected: str) -> None:
    found = parsed(task(), UNIT, completion(text, finish))
    assert (found.finish, found.value) == (expected, None)
    assert expected != "invalid" or found.detail


def test_boxes_of_the_table_are_shares_of_the_upright_image() -> None:
    boxes = [{"phrase": "kite", "numbers": [84, 0, 420, 280]}, {"phrase": "dog", "numbers": [420, 280, 900, 560]}]
    dog, kite = rows(task(), boxes)
    assert [dog[edge] for edge in ("x0", "y0", "x1", "y1")] == [0.5, 0.5, 1.0, 1.0]
    assert [kite[edge] for edge in ("x0", "y0", "x1", "y1")] == [0.1, 0.0, 0.5, 0.5]
    assert (dog["region_id"], dog["sub_id"], kite["rank"]) == ("k/boxes#0", "k/long/0#0", 1)
    assert dog["score"] is None and dog["is_point"] is False
    assert rows(task(), None) == []


@pytest.mark.parametrize(("share", "x1"), [(None, 0.5), (0.25, 1.0)])
def test_boxes_of_an_attempt_with_fewer_pixels_count_in_these(share: float | None, x1: float) -> None:
    (row,) = rows(task(), [{"phrase": "kite", "numbers": [0, 0, 420, 280]}], share=share)
    assert row["x1"] == pytest.approx(x1)


def test_the_limits_of_the_model_apply_at_build() -> None:
    value = [{"phrase": "kite", "numbers": [0, 0, 140, 84]}]
    (row,) = rows(task(max_pixels=50_000), value)  # 252 x 168
    assert (row["x1"], row["y1"]) == pytest.approx((140 / 252, 0.5))


def test_boxes_beyond_the_image_are_counted() -> None:
    numbers = ([0, 0, 420, 280], [0, 0, 900, 280], [900, 0, 999, 280], [420, 0, 400, 280])
    value = {"boxes": [{"phrase": "kite", "numbers": list(box)} for box in numbers]}
    made = task().rows(BOXES, SIZED, GIVEN, answered(task().units(SIZED, GIVEN), [value]))
    assert made.counts == {"boxes": 4, "boxes_beyond": 2} and len(made.tables["regions"]) == 2


DETECTED = (
    Detection(phrase=0, score=0.9, box=(0.1, 0.1, 0.4, 0.4)),
    Detection(phrase=0, score=0.3, box=(0.5, 0.5, 0.9, 0.9)),
    Detection(phrase=0, score=0.2, box=(0.0, 0.0, 0.1, 0.1)),
    Detection(phrase=1, score=0.6, box=(0.5, 0.5, 0.9, 0.9)),
    Detection(phrase=2, score=0.8, box=(0.5, 0.5, 0.9, 0.9)),
)


def detected(**settings: Any) -> list[tuple[str, float, float]]:
    """Phrase, score and left edge of the rows."""
    made = task(format="detector", **settings)
    unit = made.units(SIZED, GIVEN)[0]
    found = parsed(made, unit, completion(boxes=DETECTED))
    assert found.finish == "stop" and found.detail is None
    rows = made.rows(BOXES, SIZED, GIVEN, answered([unit], [found.value])).tables["regions"]
    return [(row["phrase"], row["score"], row["x0"]) for row in rows]


def test_boxes_of_a_detector_have_scores_and_are_ordered_by_them() -> None:
    assert detected() == [("dog", 0.9, 0.1), ("kite", 0.6, 0.5)]
    assert detected(threshold=0.7) == [("dog", 0.9, 0.1)]
    assert detected(threshold=0.1) == [("dog", 0.9, 0.1), ("kite", 0.6, 0.5), ("dog", 0.2, 0.0)]
    assert detected(text_threshold=0.3) == [("dog", 0.9, 0.1), ("kite", 0.6, 0.5), ("dog", 0.3, 0.5)]
    assert detected(text_threshold=0.3, most=1) == [("dog", 0.9, 0.1), ("kite", 0.6, 0.5)]


def test_a_detector_may_find_nothing_but_has_to_return_boxes() -> None:
    made = task(format="detector")
    assert parsed(made, UNIT, completion(boxes=())).value == {"boxes": []}
    assert parsed(made, UNIT, completion("[]")).finish == "invalid"


def test_points_are_marked() -> None:
    made = task(format="molmo", labels=["kite"])
    text = '<point x="50.0" y="25.0" alt="kite">kite</point>'
    unit = made.units(IMAGE, {})[0]
    found = parsed(made, unit, completion(text))
    (row,) = made.rows(BOXES, IMAGE, {}, answered([unit], [found.value])).tables["regions"]
    assert row["is_point"] is True and row["x1"] - row["x0"] == pytest.approx(0.001)
    assert (row["sub_id"], row["char_start"]) == (None, None)
