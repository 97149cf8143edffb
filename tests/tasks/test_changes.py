"""recaption.tasks.changes: applying a change, and telling what was changed."""

from __future__ import annotations

from typing import Any

import pytest

from recaption.tasks.changes import Category, changed, difference, formed_like

KITE = "A red kite flies over an old house."


@pytest.mark.parametrize(
    ("edits", "text", "new", "replaced"),
    [
        ([(2, 5, "blue")], "A blue kite flies over an old house.", "blue", "red"),
        ([(2, 5, "orange")], "An orange kite flies over an old house.", "An orange", "A red"),
        ([(25, 28, "small")], "A red kite flies over a small house.", "a small", "an old"),
        (
            [(6, 10, "house"), (29, 34, "kite")],
            "A red house flies over an old kite.",
            "house flies over an old kite",
            None,
        ),
        ([(0, 1, "the")], "The red kite flies over an old house.", "The", "A"),
    ],
)
def test_the_span_has_the_new_words(edits: Any, text: str, new: str, replaced: str | None) -> None:
    made = changed(KITE, "attribute", edits)
    assert (made.text, made.text[made.start : made.end]) == (text, new)
    assert replaced is None or made.replaced == replaced


@pytest.mark.parametrize(
    ("other", "category", "new", "replaced"),
    [
        ("A blue kite flies over an old house.", "attribute", "blue", "red"),
        ("An orange kite flies over an old house", "attribute", "An orange", "A red"),
        ("A red kite flies in front of an old house.", "relation", "in front of", "over"),
        ("A red kite flies over an old, haunted castle.", "object", "haunted castle", "house"),
        ("An old kite flies over a red house.", "swap", "An old kite flies over a red", "A red kite flies over an old"),
    ],
)
def test_one_change_is_found(other: str, category: Category, new: str, replaced: str) -> None:
    made = difference(KITE, other, category)
    assert (made.text[made.start : made.end], made.replaced, made.text) == (new, replaced, other)


@pytest.mark.parametrize(
    ("other", "category", "message"),
    [
        (KITE, "attribute", "has the words"),
        ("a red kite flies over an OLD house", "attribute", "has the words"),
        ("A kite flies over an old house.", "attribute", "only adds or removes"),
        ("A red kite flies high over an old house.", "attribute", "only adds or removes"),
        ("A red kite flies over an old house and a tree.", "object", "only adds or removes"),
        ("A red kite never flew over an old house.", "action", "negation"),
        ("A blue kite flies over an old barn.", "attribute", "more than 5 words"),
        ("An old kite flies over a red house.", "attribute", "swaps words"),
        ("A blue kite flies over an old house.", "swap", "does not only swap words, but its category is swap"),
        ("Something else.", "object", "more than 5 words"),
        ("", "object", "only adds or removes"),
        ("...", "object", "only adds or removes"),
    ],
)
def test_anything_else_is_no_change(other: str, category: Category, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        difference(KITE, other, category)


@pytest.mark.parametrize(
    ("other", "claimed", "category"),
    [
        ("A blue kite flies over an old house.", "object", "attribute"),
        ("A red frisbee flies over an old house.", "attribute", "object"),
        ("A red kite flies under an old house.", "action", "relation"),
        ("A red kite flies over an old shack.", "object", "object"),
        ("A red kite flies over nine old houses.", "number", "number"),
    ],
)
def test_words_of_a_known_class_have_its_category(other: str, claimed: Category, category: Category) -> None:
    assert difference(KITE, other, claimed).category == category


@pytest.mark.parametrize(
    ("other", "category", "problem"),
    [
        ("A red kite flies over an old shack.", "number", "changes no number"),
        ("A red kite flies flies old house.", "relation", "has the word 'flies' twice in a row"),
        ("A blue frisbee flies over an old house.", "object", "changes more than one thing: 'red kite'"),
        ("A blue thing flies over an old house.", "attribute", "changes more than one thing: 'red kite'"),
    ],
)
def test_sentences_that_are_no_such_change(other: str, category: Category, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        difference(KITE, other, category)


@pytest.mark.parametrize(
    ("sentence", "other", "expected"),
    [
        ("A dog.", "a cat", "A cat."),
        ("A dog.", "A cat!", "A cat!"),
        ("a dog", "a cat", "a cat"),
        ("Is it a dog?", "is it a cat", "Is it a cat?"),
        ("A dog.", "", ""),
    ],
)
def test_a_changed_sentence_begins_and_ends_like_the_first_one(sentence: str, other: str, expected: str) -> None:
    assert formed_like(sentence, other) == expected


@pytest.mark.parametrize(
    ("sentence", "other", "category"),
    [
        ("One dog and one man walk.", "Two dogs and one man walk.", "number"),
        ("One man walks.", "Two men walks.", "number"),
        ("A light blue kite.", "A dark red kite.", "attribute"),
        ("A small red kite.", "A large blue kite.", "attribute"),
        ("A dog is sitting.", "A dog was standing.", "action"),
        ("A house of red bricks.", "A house of blue bricks.", "attribute"),
        ("At the left of the car.", "To the right of the car.", "place"),
        ("A road in the form of x.", "A road in the shape of y.", "object"),
    ],
)
def test_several_words_may_be_one_change(sentence: str, other: str, category: Category) -> None:
    assert difference(sentence, other, category).category == category


def test_a_number_and_another_noun_are_two_changes() -> None:
    with pytest.raises(ValueError, match="changes more than one thing: 'Two dogs'"):
        difference("Two dogs walk.", "Three cats walk.", "number")
