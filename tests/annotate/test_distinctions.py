"""Directions, shares and numbers that distinguish sentences with the same words."""

from __future__ import annotations

import re

import pytest

from recaption.annotate.distinctions import (
    described_nouns,
    has_numbers_of,
    has_view_of,
    have_same_directions,
    have_same_shares,
    is_towards,
)
from recaption.annotate.tagged_words import Token

TAGS = {
    **dict.fromkeys(("house", "garden", "bus", "stop", "focus"), "NN"),
    **dict.fromkeys(("people", "doors"), "NNS"),
    **dict.fromkeys(("from", "into", "of", "out", "in", "behind"), "IN"),
    **dict.fromkeys(("the", "all", "some", "most", "each"), "DT"),
    **dict.fromkeys(("old", "vivid", "other"), "JJ"),
    "-": "HYPH",
}


def tokens(text: str) -> list[Token]:
    """The words with their tags."""
    found = re.finditer(r"\S+", text)
    return [Token(match[0], TAGS.get(match[0], "VBZ"), *match.span()) for match in found]


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("from the house into the garden", "from the house into the garden", True),
        ("from the house into the garden", "into the house from the garden", False),
        ("out of the old house", "in the house", False),
        ("into the bus stop", "from the bus", True),  # other things
        ("from behind the house", "into the house", True),  # it is not the house that is left
        ("into the house", "the house", True),
        ("out of focus", "in focus", True),
    ],
)
def test_directions(text: str, other: str, same: bool) -> None:
    assert have_same_directions(tokens(text), tokens(other)) is same
    assert have_same_directions(tokens(other), tokens(text)) is same


@pytest.mark.parametrize(
    ("text", "other", "same"),
    [
        ("all of the people", "some of the people", False),
        ("all people", "the people", True),
        ("most people", "all people", False),
        ("the most vivid doors", "all doors", True),
        ("each other", "some people", True),
        ("some people all doors", "all people", True),
    ],
)
def test_shares(text: str, other: str, same: bool) -> None:
    assert have_same_shares(tokens(text), tokens(other)) is same
    assert have_same_shares(tokens(other), tokens(text)) is same


@pytest.mark.parametrize(
    ("text", "other", "has"),
    [
        ("It shows 3:0.", "It shows 0:3.", False),
        ("It shows 3:0.", "The score is 3-0 at last.", True),
        ("It shows 3:0.", "It shows a score.", False),
        ("It shows a score.", "It shows 3:0.", True),
        ("10 of 12", "10/12", True),
        ("at 3:15", "at 3:51", False),
        ("3 cats and 2 dogs", "2 dogs and 3 cats", True),
    ],
)
def test_numbers(text: str, other: str, has: bool) -> None:
    assert has_numbers_of(text, other) is has


@pytest.mark.parametrize(
    ("text", "other", "has"),
    [
        ("a level angle", "an overhead shot", False),
        ("a level angle", "an angle slightly above level", False),
        ("an angle from above", "a high angle", True),
        ("a level view", "a view of the street", True),  # the other one does not say it
        ("a level street", "a street from above", True),  # no view
    ],
)
def test_views(text: str, other: str, has: bool) -> None:
    assert has_view_of(text.split(), other.split()) is has


def test_towards() -> None:
    assert is_towards(tokens("walking towards the house"))
    assert not is_towards(tokens("towards the house")) and not is_towards(tokens("open towards the garden"))


def test_described_nouns() -> None:
    assert described_nouns(tokens("the old vivid bus stop from the house")) == [
        ("old", {"stop"}),
        ("vivid", {"stop"}),
    ]
    assert described_nouns(tokens("old - vivid bus stop")) == [("old", {"stop", "vivid"}), ("vivid", {"stop"})]
    assert described_nouns(tokens("the house the old into")) == []
