"""recaption.tasks.wording: words and sequences of words that texts have in common."""

from __future__ import annotations

from dataclasses import replace

import pytest
from task_units import caption, tag, with_sub

from recaption.tasks.wording import attribute_pairs, fact_words, missing_words, moved_attribute, shared_ngrams


def test_facts_are_the_words_of_objects_and_their_attributes() -> None:
    red = replace(tag("kite"), text="red kite", attributes=("red",))
    car = replace(tag("car"), text="Cars", attributes=("dark blue",))
    made = with_sub(caption("A red kite.", "The cars are dark blue.", "A dog."), 0, tags=(red, tag("sky", "meta")))
    assert fact_words(with_sub(made, 1, tags=(car,))) == ["red", "kite", "cars", "dark", "blue", "dog"]
    assert fact_words(caption("A dog.", sub_captions=())) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("Two dogs and a red glass box", []),
        ("A dog, red glasses, boxes", []),
        ("A doghouse, redder glass boxes", ["dog", "red"]),
        ("", ["dog", "red", "glass", "boxes"]),
    ],
)
def test_words_are_whole_and_may_be_plural(text: str, missing: list[str]) -> None:
    assert missing_words(text, ["dog", "red", "glass", "boxes"]) == missing


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("A dog sits on a mat.", "a dog sits on a mat", 1),
        ("A dog sits on a mat.", "On a mat, a dog sits.", 0.5),
        ("A dog sits on a mat.", "A mat is under a sitting dog.", 0),
        ("A dog sits.", "A dog sits on a mat by the door.", 1),
        ("dog", "dog", 1),
        ("dog", "cat", 0),
        ("", "", 1),
    ],
)
def test_sequences_of_three_words(one: str, other: str, expected: float) -> None:
    assert shared_ngrams(one, other) == shared_ngrams(other, one) == expected


def test_attributes_belong_to_their_objects() -> None:
    red = replace(tag("kite"), text="bright red kite", attributes=("bright red",))
    wide = replace(tag("beach"), text="beaches", attributes=("wide",))
    pairs = attribute_pairs(with_sub(caption("A kite."), 0, tags=(red, wide, red)))
    assert pairs == [("red", "kite"), ("wide", "beaches")]
    for text in ("A red kite, a wide beach.", "Red kites", "A red one: the kite", "The beach is red", ""):
        assert moved_attribute(text, pairs) is None
    assert moved_attribute("A kite over red beaches", pairs) == "red beach"
    assert moved_attribute("A wide kite", pairs) == "wide kite"
