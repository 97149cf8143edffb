"""recaption.tasks.box_formats: boxes in the answers of grounding models, and their units."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recaption.engine.grammar import unsupported
from recaption.tasks.box_formats import QWEN_OUTPUT, BoxFormat, Found, ends_beyond, normalised, output_of, read
from recaption.tasks.output import TEXT, Output
from recaption.types import Box

ANSWERS = Path(__file__).with_name("box_answers")
SHOWN = (1036, 700)
FENCED = '```json\n[{"bbox_2d": [112, 40, 318, 205], "label": "red kite"}]\n```'


def qwen(box: Box, width: int, height: int) -> str:
    x0, y0, x1, y1 = box
    corners = [round(x0 * width), round(y0 * height), round(x1 * width), round(y1 * height)]
    return json.dumps([{"bbox_2d": corners, "label": "kite"}])


def internvl(box: Box) -> str:
    return f"<ref>kite</ref><box>[[{', '.join(str(round(edge * 1000)) for edge in box)}]]</box>"


def florence2(box: Box) -> str:
    return "kite" + "".join(f"<loc_{min(int(edge * 1000), 999)}>" for edge in box)


def paligemma(box: Box) -> str:
    x0, y0, x1, y1 = (min(round(edge * 1024), 1023) for edge in box)
    return f"<loc{y0:04}><loc{x0:04}><loc{y1:04}><loc{x1:04}> kite"


def kosmos2(box: Box) -> str:
    x0, y0, x1, y1 = (min(int(edge * 32), 31) for edge in box)
    cells = f"<patch_index_{y0 * 32 + x0:04}><patch_index_{y1 * 32 + x1:04}>"
    return f"<phrase> kite</phrase><object>{cells}</object>"


WRITERS: dict[BoxFormat, tuple[Callable[[Box], str], float]] = {  # with the largest error of an edge
    "qwen2_5_vl": (lambda box: qwen(box, *SHOWN), 0.5 / min(SHOWN)),
    "qwen3_vl": (lambda box: qwen(box, 1000, 1000), 0.5 / 1000),
    "internvl": (internvl, 0.5 / 1000),
    "florence2": (florence2, 0.5 / 1000),
    "paligemma": (paligemma, 1 / 1024),
    "kosmos2": (kosmos2, 1 / 32),
}


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """Boxes with sides above the step of every format."""
    x0, y0 = draw(st.floats(0, 0.9)), draw(st.floats(0, 0.9))
    return x0, y0, draw(st.floats(x0 + 0.05, 1)), draw(st.floats(y0 + 0.05, 1))


@pytest.mark.parametrize("form", WRITERS)
@settings(max_examples=100)
@given(box=boxes())
def test_a_box_comes_back_within_the_steps_of_its_format(form: BoxFormat, box: Box) -> None:
    write, step = WRITERS[form]
    (found,) = read(form, write(box))
    assert found.label == "kite" and found.numbers is not None
    made = normalised(form, found.numbers, SHOWN)
    assert made is not None
    assert max(abs(edge - expected) for edge, expected in zip(made, box, strict=True)) <= step + 1e-9


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("qwen3_vl", FENCED, [("red kite", (112, 40, 318, 205))]),
        ("qwen2_5_vl", "[]", []),
        (
            "internvl",
            "<ref>the red kite</ref><box>[[112, 40, 318, 205]]</box>",
            [("the red kite", (112, 40, 318, 205))],
        ),
        ("internvl", "the red kite[[112, 40, 318, 205]]", [("the red kite", (112, 40, 318, 205))]),
        ("internvl", "kite [[1,2,3,4], [5,6,7,8]]", [("kite", (1, 2, 3, 4)), ("kite", (5, 6, 7, 8))]),
        ("internvl", "[112, 40, 318, 205]", [("", (112, 40, 318, 205))]),
        ("internvl", "kite [[1, 2, 3]]", [("kite", None)]),
        ("internvl", "kite [[a, b, c, d]]", [("kite", None)]),
        (
            "florence2",
            "</s><s>a red kite<loc_112><loc_40><loc_318><loc_205></s>",
            [("a red kite", (112, 40, 318, 205))],
        ),
        (
            "florence2",
            "kite<loc_1><loc_2><loc_3><loc_4><loc_5><loc_6><loc_7><loc_8>dog<loc_0><loc_0><loc_999><loc_999>",
            [("kite", (1, 2, 3, 4)), ("kite", (5, 6, 7, 8)), ("dog", (0, 0, 999, 999))],
        ),
        ("florence2", "kite<loc_1><loc_2><loc_3>", [("kite", None)]),
        ("florence2", "kite<loc_1><loc_2><loc_3><loc_1000>", [("kite", None)]),
        ("paligemma", "<loc0040><loc0112><loc0205><loc0318> red kite", [("red kite", (112, 40, 318, 205))]),
        (
            "paligemma",
            "<loc0001><loc0002><loc0003><loc0004> kite ; <loc0005><loc0006><loc0007><loc0008> dog",
            [("kite", (2, 1, 4, 3)), ("dog", (6, 5, 8, 7))],
        ),
        ("paligemma", "", []),
        ("paligemma", "<loc0040><loc0112><loc0205> kite", [("kite", None)]),
        ("paligemma", "<loc0040><loc0112><loc0205><loc1024> kite", [("kite", None)]),
        ("molmo", '<point x="21.5" y="12.2" alt="red kite">red kite</point>', [("red kite", (21.5, 12.2))]),
        (
            "molmo",
            ' <points x1="1.0" y1="2.0" x2="3.0" y2="4.5" alt="kites">kites</points>',
            [("kites", (1.0, 2.0)), ("kites", (3.0, 4.5))],
        ),
        ("molmo", '<point x="21.5" alt="kite"></point>', [("kite", None)]),
        (
            "kosmos2",
            "<phrase> a red kite</phrase><object><patch_index_0044><patch_index_0863></object>",
            [("a red kite", (44, 863))],
        ),
        (
            "kosmos2",
            "<phrase>kite</phrase><object><patch_index_0000><patch_index_0033></delimiter_of_multi_objects/>"
            "<patch_index_0044><patch_index_1024></object>",
            [("kite", (0, 33)), ("kite", None)],
        ),
    ],
)
def test_what_models_answer_is_read(form: BoxFormat, text: str, expected: list[tuple[str, tuple[float, ...]]]) -> None:
    assert read(form, text) == [Found(label=label, numbers=numbers) for label, numbers in expected]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("qwen2_5_vl", "The kite is at the top left."),
        ("qwen2_5_vl", '[{"bbox_2d": [1, 2, 3], "label": "kite"}]'),
        ("qwen2_5_vl", '[{"bbox_2d": ["1", 2, 3, 4], "label": "kite"}]'),
        ("qwen3_vl", '[{"bbox_2d": [1, 2, 3, NaN], "label": "kite"}]'),
        ("qwen3_vl", '[{"bbox_2d": [1, 2, 3, 4]}]'),
        ("qwen3_vl", '{"bbox_2d": [1, 2, 3, 4], "label": "kite"}'),
        ("qwen3_vl", ""),
        ("internvl", "The kite is at the top left."),
        ("florence2", "a red kite"),
        ("florence2", "a red kite<loc_a>"),
        ("paligemma", "a red kite"),
        ("molmo", "There are none."),
        ("molmo", "<point>kite</point>"),
        ("kosmos2", "<phrase>a red kite</phrase>"),
    ],
)
def test_a_text_of_no_such_form_is_an_error(form: BoxFormat, text: str) -> None:
    with pytest.raises(ValueError, match="the answer"):
        read(form, text)


@pytest.mark.parametrize("number", ["1e999", "-1e300", "1e7", "1" + "0" * 400])
def test_numbers_that_no_image_has_cannot_be_read(number: str) -> None:
    assert read("internvl", f"kite [[0, 0, {number}, 5]]")[0].numbers is None


@pytest.mark.parametrize("number", ["-1e300", "1e7"])
def test_nor_can_those_of_json(number: str) -> None:
    assert read("qwen3_vl", f'[{{"bbox_2d": [0, 0, {number}, 5], "label": "kite"}}]')[0].numbers is None


@pytest.mark.parametrize(
    ("form", "numbers", "expected"),
    [
        ("qwen2_5_vl", (0, 0, 518, 350), (0, 0, 0.5, 0.5)),
        ("qwen2_5_vl", (518, 350, 1100, 701), (0.5, 0.5, 1, 1)),  # beyond the image: clipped
        ("qwen3_vl", (-5, 250, 500, 1000), (0, 0.25, 0.5, 1)),
        ("florence2", (0, 0, 999, 499), (0.0005, 0.0005, 0.9995, 0.4995)),
        ("paligemma", (0, 256, 512, 768), (0, 0.25, 0.5, 0.75)),
        ("molmo", (50.0, 25.0), (0.4995, 0.2495, 0.5005, 0.2505)),
        ("molmo", (0.0, 100.0), (0, 0.9995, 0.0005, 1)),
        ("kosmos2", (0, 0), (0, 0, 1 / 32, 1 / 32)),
        ("kosmos2", (0, 31), (0, 0, 1, 1 / 32)),
        ("kosmos2", (0, 33), (1 / 64, 1 / 64, 3 / 64, 3 / 64)),
        ("qwen3_vl", (500, 100, 400, 200), None),  # reversed
        ("qwen3_vl", (100, 100, 100, 200), None),  # no width
        ("qwen3_vl", (1001, 100, 1200, 200), None),  # outside
        ("qwen3_vl", (-10, 100, 0, 200), None),
        ("kosmos2", (33, 0), None),
    ],
)
def test_units_become_shares_of_the_image(form: BoxFormat, numbers: tuple[float, ...], expected: Box | None) -> None:
    made = normalised(form, numbers, SHOWN)
    assert made == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize(
    ("form", "numbers", "expected"),
    [
        ("qwen2_5_vl", (0, 0, 1036, 700), False),
        ("qwen2_5_vl", (0, 0, 1036, 702), True),
        ("qwen3_vl", (-50, 0, 1000, 1001), False),  # rounded
        ("qwen3_vl", (1200, 0, 1300, 500), True),
        ("qwen3_vl", (900, 0, 100, 500), False),
        ("molmo", (100.0, 100.0), False),
        ("molmo", (180.0, 100.0), True),
        ("kosmos2", (0, 1023), False),
        ("detector", (0.5, 0.5, 1.0, 1.0), False),
    ],
)
def test_a_box_that_ends_beyond_the_image(form: BoxFormat, numbers: tuple[float, ...], expected: bool) -> None:
    assert ends_beyond(form, numbers, SHOWN) is expected


def test_the_cells_of_kosmos_are_those_of_transformers() -> None:
    from transformers.models.kosmos2.processing_kosmos2 import patch_index_to_coordinate

    for first, last in ((0, 1023), (44, 863), (5, 5), (40, 47), (3, 963)):
        expected = patch_index_to_coordinate(first, last, 32)
        assert normalised("kosmos2", (first, last)) == pytest.approx(expected)


@pytest.mark.parametrize("form", [form for form in get_args(BoxFormat) if form != "detector"])
def test_hand_made_answers_are_read(form: BoxFormat) -> None:
    """60 of each format, broken ones included. Expected boxes were computed from the format's units, not by `read`.

    `expected` is null for an answer that is not of the format; a box is null if it cannot be used.
    """
    answers = [json.loads(line) for line in (ANSWERS / f"{form}.jsonl").read_text("utf-8").splitlines()]
    assert len(answers) == 60
    for answer in answers:
        text, expected, shown = answer["text"], answer["expected"], tuple(answer.get("shown", ()))
        if expected is None:
            with pytest.raises(ValueError, match="the answer"):
                read(form, text)
            continue
        found = read(form, text)
        assert [one.label for one in found] == [label for label, _ in expected], text
        for one, (_, box) in zip(found, expected, strict=True):
            made = None if one.numbers is None else normalised(form, one.numbers, shown or None)
            assert made == (None if box is None else pytest.approx(box, abs=1e-8)), text


def test_only_the_formats_of_qwen_are_json() -> None:
    assert output_of("qwen2_5_vl") is output_of("qwen3_vl") is QWEN_OUTPUT
    assert output_of("internvl") is output_of("paligemma") is output_of("molmo") is TEXT
    assert output_of("florence2") == output_of("kosmos2") == Output(special_tokens=True)
    assert output_of("detector") == Output(boxes=True)
    assert QWEN_OUTPUT.json_schema is not None and unsupported(QWEN_OUTPUT.json_schema) is None
