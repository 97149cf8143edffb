"""recaption.tasks.change_words: the classes of words."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from recaption.tasks.change_words import (
    ACTIONS,
    ATTRIBUTES,
    NUMBER_VALUES,
    NUMBERS,
    OBJECTS,
    PLACES,
    RELATIONS,
    plural,
)


@pytest.mark.parametrize("words", [ACTIONS, ATTRIBUTES, NUMBERS, OBJECTS, PLACES, RELATIONS])
def test_each_word_has_others(words: Mapping[str, tuple[str, ...]]) -> None:
    for word, others in words.items():
        assert others and word not in others and word == word.casefold()
        assert all(other in words for other in others)


def test_words_of_one_meaning_do_not_replace_each_other() -> None:
    assert not {"big", "huge", "large"} & set(ATTRIBUTES["large"]) and "small" in ATTRIBUTES["big"]
    assert RELATIONS["in front of"] == ("behind",)


def test_numbers_have_their_values() -> None:
    assert (NUMBER_VALUES["two"], NUMBER_VALUES["ten"], NUMBER_VALUES["2"], NUMBER_VALUES["10"]) == (2, 10, 2, 10)


@pytest.mark.parametrize(
    ("noun", "expected"),
    [
        ("dog", "dogs"), ("bus", "buses"), ("sandwich", "sandwiches"), ("woman", "women"), ("monkey", "monkeys"),
        ("knife", "knives"), ("bookshelf", "bookshelves"), ("tomato", "tomatoes"), ("pony", "ponies"),
    ],
)  # fmt: skip
def test_plurals(noun: str, expected: str) -> None:
    assert plural(noun) == expected
