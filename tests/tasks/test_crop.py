"""recaption.tasks.crop: a caption of each region, and what reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from task_units import IMAGE, answer, caption, completion, generation, inputs, parsed

from recaption import prompt
from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.base import Task, Unit, UnitAnswer, Upstream
from recaption.types import Box

CROPS = generation("crops", granularity="region", prompt="describe_region_short")
TRUE = {"x0": 0.2, "y0": 0.4, "x1": 0.4, "y1": 0.8}


def region(rank: int, phrase: str, is_point: bool = False, **edges: float) -> dict[str, Any]:
    return {"region_id": f"k/boxes#{rank}", "phrase": phrase, "is_point": is_point, **TRUE, **edges}


def given(*rows: Mapping[str, Any]) -> dict[str, Upstream]:
    return {"boxes": Upstream(generation=generation("boxes"), answers=(), tables={"regions": rows})}


GIVEN = given(region(0, "kite"), region(1, "dog", is_point=True), region(2, "sea", x0=0.0, y0=0.5, x1=1.0, y1=1.0))


def task(**settings: Any) -> Task:
    return registry.load("crop", settings)


def test_each_region_but_a_point_is_shown_alone() -> None:
    kite, sea = task(margin=0).units(IMAGE, GIVEN)
    assert (kite.id, kite.crop, dict(kite.variables)) == ("boxes#0", (0.2, 0.4, 0.4, 0.8), {"phrase": "kite"})
    assert (sea.id, sea.crop) == ("boxes#2", (0.0, 0.5, 1.0, 1.0))
    assert [unit.id for unit in task(most=1).units(IMAGE, GIVEN)] == ["boxes#0"]
    assert list(task().units(IMAGE, given())) == []


def test_a_margin_is_a_share_of_the_box_and_stays_in_the_image() -> None:
    kite, sea = task(margin=0.5).units(IMAGE, GIVEN)
    assert kite.crop == pytest.approx((0.1, 0.2, 0.5, 1.0)) and sea.crop == (0.0, 0.25, 1.0, 1.0)


def test_settings_choose_requests_and_change_no_answers() -> None:
    assert task(most=1, margin=0).identity() == task().identity() == {}
    with pytest.raises(ConfigError, match="margin"):
        task(margin=2)


@pytest.mark.parametrize("name", ["describe_region_short", "describe_region_long"])
def test_the_prompts_name_the_phrase(name: str) -> None:
    shipped = prompt.load(name)
    assert not shipped.missing(task().variables)
    assert "Describe the red kite in this image" in shipped.fill_in({"phrase": "red kite"})


def test_captions_are_linked_to_their_regions() -> None:
    """Their numbers have no gap where a region has no answer."""
    made = task(margin=0)
    units = made.units(IMAGE, given(region(0, "kite"), region(1, "dog"), region(2, "sea", x0=0.0)))
    texts = ["A red kite.", None, "The sea."]
    answers = [
        UnitAnswer(unit=unit, answer=None if text is None else answer(None, text))
        for unit, text in zip(units, texts, strict=True)
    ]
    found = made.rows(CROPS, IMAGE, given(), answers).captions
    assert [(one.caption_id, one.text, one.region_id, one.box, one.granularity) for one in found] == [
        ("k/crops/0", "A red kite.", "k/boxes#0", (0.2, 0.4, 0.4, 0.8), "region"),
        ("k/crops/1", "The sea.", "k/boxes#2", (0.0, 0.4, 0.4, 0.8), "region"),
    ]


@pytest.mark.parametrize(
    ("text", "finish"), [("A kite.", "stop"), ("", "empty"), ("I'm sorry, I can't help with that.", "refusal")]
)
def test_an_answer_is_that_of_a_caption(text: str, finish: str) -> None:
    assert parsed(task(), Unit(id="boxes#0"), completion(text)).finish == finish


BOX: Box = (0.2, 0.4, 0.4, 0.8)


@pytest.mark.parametrize(("name", "settings"), [("verify", {}), ("score", {"of": "captions"})])
def test_a_caption_of_a_region_is_compared_with_what_was_shown(name: str, settings: dict[str, Any]) -> None:
    of_region = caption("A red kite.", name="crops", granularity="region", region_id="k/boxes#0", box=BOX)
    units = registry.load(name, settings).units(IMAGE, inputs(of_region, caption("A dog.")))
    assert [unit.crop for unit in units] == [BOX, None]


def test_equal_texts_about_different_regions_are_both_verified() -> None:
    from task_units import with_sub

    again = with_sub(caption("A kite.", name="crops", box=BOX), 0, dup_of="k/crops/1#0", is_fragment=True)
    whole = with_sub(caption("A kite."), 0, dup_of="k/crops/1#0")
    assert [unit.crop for unit in registry.load("verify", {}).units(IMAGE, inputs(again, whole))] == [BOX]


def test_a_caption_of_a_region_is_repaired_with_what_was_shown() -> None:
    of_region = caption("A red kite.", name="crops", granularity="region", region_id="k/boxes#0", box=BOX)
    rows = [{"sub_id": of_region.sub_captions[0].sub_id, "p_true": 0.1}]
    check = Upstream(
        generation=generation("check"), answers=(), tables={"verifications": rows}, inputs=inputs(of_region)
    )
    (unit,) = registry.load("repair", {}).units(IMAGE, {"check": check})
    assert unit.crop == BOX
