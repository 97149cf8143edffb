"""The phrases that β-CLIP contrasts with the image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from relations import tables_annotator

from recaption.annotate import Annotator
from recaption.types import Caption

Make = Callable[..., Caption]


@pytest.fixture(scope="module")
def made() -> Annotator:
    return tables_annotator("concepts")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A small dog is leaning against the old wall.",
         {"noun_phrase": ["A small dog", "the old wall"], "action": ["leaning against"]}),
        ("Two cats on the left of a sofa sit next to a lamp.",
         {"noun_phrase": ["Two cats on the left of", "a sofa", "a lamp"], "place": ["on the left of", "next to"]}),
        ("The image shows a calm scene.", {"noun_phrase": ["a calm scene"]}),
        ("It stands in front of a house.",
         {"noun_phrase": ["front", "a house"], "action": ["stands in"], "place": ["in front of"]}),
        ("It is red.", {}),
        ("The image.", {}),
        ("Ein Hund sitzt auf einer Matte, und eine Katze liegt auf dem Sofa.", {}),
    ],
)  # fmt: skip
def test_phrases_of_a_sentence(made: Annotator, make: Make, text: str, expected: dict[str, list[str]]) -> None:
    found: dict[str, list[str]] = {}
    for row in made.annotate_with_tables([[make(text)]]).tables["concepts"].to_pylist():
        assert text[row["char_start"] : row["char_end"]] == row["text"]
        found.setdefault(row["kind"], []).append(row["text"])
    assert found == expected


def test_a_repeated_phrase_has_a_row_for_each_mention(made: Annotator, make: Make) -> None:
    rows = made.annotate_with_tables([[make("A dog sits. A dog sleeps.")]]).tables["concepts"].to_pylist()
    assert [(row["sub_id"], row["text"]) for row in rows] == [("k/long/0#0", "A dog"), ("k/long/0#1", "A dog")]
