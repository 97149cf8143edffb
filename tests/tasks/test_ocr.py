"""recaption.tasks.ocr: the text in an image, with boxes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from task_units import IMAGE, answered, completion, generation, parsed

from recaption import prompt, schema
from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.base import WHOLE_IMAGE
from recaption.tasks.ocr import OCR, OcrTask

SIZED = replace(IMAGE, width=840, height=560)
READ = generation("read", prompt="ocr")


def task(**settings: Any) -> OcrTask:
    made = registry.load("ocr", settings)
    assert isinstance(made, OcrTask)
    return made


def qwen(*boxes: tuple[str, Sequence[float]]) -> str:
    return json.dumps([{"bbox_2d": corners, "label": label} for label, corners in boxes])


def test_one_request_is_about_the_whole_image() -> None:
    assert list(task().units(IMAGE, {})) == [WHOLE_IMAGE]
    assert "Read all text" in prompt.load("ocr").fill_in({})
    assert task(max_pixels=1000).identity() == task().identity() == {"format": "qwen2_5_vl"}


def test_texts_have_boxes_in_the_units_of_the_model() -> None:
    found = parsed(task(), WHOLE_IMAGE, completion(qwen(("STOP\nhere", [0, 0, 420, 280]), ("é", [1, 2, 3, 4]))))
    assert [(item["text"], item["numbers"]) for item in found.value["texts"]] == [
        ("STOP here", [0, 0, 420, 280]),
        ("é", [1, 2, 3, 4]),
    ]
    assert (found.finish, found.detail) == ("stop", None)
    assert parsed(task(), WHOLE_IMAGE, completion("[]")).value == {"texts": []}


def test_texts_without_a_box_are_dropped_and_counted() -> None:
    found = parsed(
        task(), WHOLE_IMAGE, completion(qwen(("STOP", [0, 0, 9, 9]), (" ", [0, 0, 9, 9]), ("A", [0, 0, 1e9, 9])))
    )
    assert [item["text"] for item in found.value["texts"]] == ["STOP"]
    assert found.detail == "dropped 2 of 3 texts, which are empty or have no box"


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("STOP", "stop", "invalid"),
        (qwen((" ", [0, 0, 9, 9])), "stop", "invalid"),
        (qwen(("STOP", [0, 0, 9, 9]))[:-3], "length", "invalid"),
        ("", "empty", "empty"),
        ("I'm sorry, I can't help with that.", "stop", "refusal"),
    ],
)
def test_other_answers_are_faults(text: str, finish: str, expected: str) -> None:
    found = parsed(task(), WHOLE_IMAGE, completion(text, finish))
    assert (found.finish, found.value) == (expected, None)


def test_rows_have_shares_of_the_image() -> None:
    texts = [
        {"text": "STOP", "numbers": [0, 0, 420, 280]},
        {"text": "STOP", "numbers": [0, 0, 420, 280]},  # again
        {"text": "far", "numbers": [900, 0, 999, 280]},  # outside
        {"text": "GO", "numbers": [420, 280, 900, 560]},
    ]
    rows = task().rows(READ, SIZED, {}, answered([WHOLE_IMAGE], [{"texts": texts}])).tables["ocr"]
    table = schema.task_table("ocr", OCR.columns)
    made = pa.Table.from_pylist([{"key": "k", "generation": "read", **row} for row in rows], schema=table)
    made.validate(full=True)
    assert [tuple(row.values())[2:] for row in made.to_pylist()] == [
        ("STOP", 0.0, 0.0, 0.5, 0.5, 0),
        ("GO", 0.5, 0.5, 1.0, 1.0, 1),
    ]
    assert task().rows(READ, SIZED, {}, answered([WHOLE_IMAGE], [None])).tables["ocr"] == []


def test_only_formats_in_json_have_text() -> None:
    with pytest.raises(ConfigError, match="allowed: qwen2_5_vl and qwen3_vl"):
        task(format="florence2")
