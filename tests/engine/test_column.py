"""recaption.engine.column: captions that exist in a column of the source."""

from __future__ import annotations

from typing import Any

import pytest

from recaption.engine.base import Completion
from recaption.engine.column import read_column
from recaption.errors import RequestError
from recaption.tasks.output import Output
from recaption.text import LONGEST
from recaption.types import Image, Locator


def image(**columns: Any) -> Image:
    return Image(
        key="k",
        source_key="k",
        shard="00000",
        row=0,
        sha256="ab" * 32,
        locator=Locator(path="x.tar", size=1),
        columns=columns,
    )


@pytest.mark.parametrize(
    ("columns", "text"), [({"recap": " Two dogs.\r\n"}, " Two dogs.\r\n"), ({"recap": None}, ""), ({}, "")]
)
def test_the_text_is_that_of_the_column(columns: dict[str, Any], text: str) -> None:
    completion = read_column(image(**columns), "recap")
    assert completion == Completion(text=text, finish_reason="stop", prompt_tokens=0, output_tokens=0)


def test_a_value_that_the_source_could_not_keep_is_not_called_missing() -> None:
    with pytest.raises(RequestError, match=r"'recap': the value .* is not valid JSON, or takes more than 65,536 b"):
        read_column(image(_dropped=["recap"]), "recap")


def test_a_text_is_made_storable() -> None:
    assert read_column(image(recap="a\ud800\0b"), "recap").text == "a\ufffdb"


def test_white_space_around_a_caption_is_no_reason_to_cut_it() -> None:
    padding = " " * 2**20
    found = [read_column(image(recap=padding + text), "recap") for text in ("A dog.", "a" * (LONGEST + 1))]
    assert [(c.text, c.finish_reason) for c in found] == [("A dog.", "stop"), ("a" * LONGEST, "length")]


def test_a_value_that_is_not_a_text_is_refused() -> None:
    with pytest.raises(RequestError, match="column 'recap' holds int, not a text"):
        read_column(image(recap=3), "recap")


def test_a_value_has_the_form_that_was_asked_for() -> None:
    yes_no = Output(choices=("yes", "no"))
    assert read_column(image(recap="no"), "recap", yes_no).text == "no"
    with pytest.raises(RequestError, match="'maybe' is none of the choices"):
        read_column(image(recap="maybe"), "recap", yes_no)
    boxes = Output(json_schema=b'{"type":"array","items":{"type":"number"}}')
    for value, text in (([0, 0.5], "[0,0.5]"), ("[0, 0.5]", "[0, 0.5]"), (None, "")):
        assert read_column(image(recap=value), "recap", boxes).text == text
    with pytest.raises(RequestError, match="does not fit the JSON schema"):
        read_column(image(recap=["a"]), "recap", boxes)
    with pytest.raises(RequestError, match="holds bytes, not JSON"):
        read_column(image(recap=b"[]"), "recap", boxes)
