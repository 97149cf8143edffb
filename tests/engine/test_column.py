"""recaption.engine.column: captions that exist already."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from recaption.engine.column import from_column
from recaption.tasks.question import column_sha256
from recaption.text import LONGEST
from recaption.types import Answer, Image, Locator, Reject


def image(row: int, **columns: Any) -> Image:
    return Image(
        key=f"k{row}",
        source_key=f"source/{row}",
        shard="00000",
        row=row,
        sha256="ab" * 32,
        locator=Locator(path="x.tar", size=1),
        columns=columns,
    )


def test_answers_come_in_order_and_unchanged() -> None:
    answers = from_column([image(0, recap=" Two dogs.\r\n"), image(1, recap="A cat")], "recap", "long")
    assert [a.text for a in answers if isinstance(a, Answer)] == [" Two dogs.\r\n", "A cat"]
    first = answers[0]
    assert isinstance(first, Answer)
    assert (first.key, first.row, first.sha256) == ("k0", 0, "ab" * 32)
    assert (first.finish_reason, first.prompt_tokens, first.output_tokens, first.attempts) == ("stop", 0, 0, ())


def test_white_space_around_a_caption_is_no_reason_to_cut_it() -> None:
    padding = " " * 2**20
    found = from_column(
        [image(0, recap=f"{padding}A dog."), image(1, recap=padding + "a" * (LONGEST + 1))], "recap", "long"
    )
    answers = [(a.text, a.finish_reason) for a in found if isinstance(a, Answer)]
    assert answers == [("A dog.", "stop"), ("a" * LONGEST, "length")]


def test_an_image_that_no_table_names_says_so() -> None:
    (reject,) = from_column([replace(image(0), detail="no table names this image")], "recap", "long")
    assert isinstance(reject, Reject)
    assert reject.detail == "no table names this image, so it has no column 'recap'"
    (reject,) = from_column([replace(image(0, other="x"), detail="no table names this image")], "recap", "long")
    assert isinstance(reject, Reject) and reject.detail == "column 'recap' is missing"


@pytest.mark.parametrize(
    ("columns", "reason", "says"),
    [
        ({}, "empty_answer", "is missing"),
        ({"recap": None}, "empty_answer", "is null"),
        ({"recap": ""}, "empty_answer", "holds no caption"),
        ({"recap": "N/A"}, "empty_answer", "holds no caption"),
        ({"recap": " \n\t"}, "empty_answer", "holds no caption"),
        ({"recap": 3}, "request_error", "int"),
        ({"recap": ["a", "b"]}, "request_error", "list"),
        ({"recap": float("nan")}, "request_error", "float"),
    ],
)
def test_what_is_no_caption_is_a_reject(columns: dict[str, Any], reason: str, says: str) -> None:
    (reject,) = from_column([image(5, **columns)], "recap", "long")
    assert isinstance(reject, Reject)
    assert (reject.stage, reject.generation, reject.reason, reject.row) == ("generate", "long", reason, 5)
    assert (reject.key, reject.source_key, reject.shard) == ("k5", "source/5", "00000")
    assert "'recap'" in reject.detail and says in reject.detail


def test_what_was_asked_tells_columns_and_values_apart() -> None:
    hashes = {column_sha256(image(0, a="x", b="x"), c) for c in "ab"} | {
        column_sha256(image(0, a="y"), "a"),
        column_sha256(image(0), "a"),
    }
    assert len(hashes) == 4
    assert column_sha256(image(0, a="x"), "a") == column_sha256(image(9, a="x"), "a")
    assert len(column_sha256(image(0, a="\ud800"), "a")) == 64


def test_no_images() -> None:
    assert from_column([], "recap", "long") == []
