"""Chunks of a sentence, and the words that tables read."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recaption.annotate.corrected_tags import corrected
from recaption.annotate.spacy_tagger import Tagger
from recaption.annotate.tables.chunks import chunks_of, simplified, words_of
from recaption.annotate.tag import tags
from recaption.guard import Failed
from recaption.types import Caption, SubCaption

Make = Callable[..., Caption]


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return Tagger(None)


def chunked(tagger: Tagger, text: str) -> list[tuple[str, str]]:
    (tokens,) = tagger.tokens([text])
    assert not isinstance(tokens, Failed)
    words = corrected(tokens)
    found = simplified(chunks_of(words, tags(tokens, text)), words)
    return [(chunk.kind, " ".join(word.text for word in words[chunk.start : chunk.end])) for chunk in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Two old men are seen grazing goats", [("noun", "two old men"), ("verb", "grazing"), ("noun", "goats")]),
        ("a cat on the left side of a sofa",
         [("noun", "a cat"), ("preposition", "on the left side of"), ("noun", "a sofa")]),
        ("a group of people", [("noun", "people")]),
        ("the edge of the table", [("noun", "the table")]),
        ("a bowl of soup", [("noun", "a bowl"), ("preposition", "of"), ("noun", "soup")]),
        ("a chair next to a lamp", [("noun", "a chair"), ("preposition", "next to"), ("noun", "a lamp")]),
        ("The house is tall", [("noun", "the house"), ("verb", "is"), ("predicate", "tall")]),
        ("a street scene with cars", [("noun", "a street scene"), ("preposition", "with"), ("noun", "cars")]),
        ("it sits", [("noun", "it"), ("verb", "sits")]),
    ],
)  # fmt: skip
def test_chunks(tagger: Tagger, text: str, expected: list[tuple[str, str]]) -> None:
    assert chunked(tagger, text) == expected


def test_words_are_those_behind_the_opener_and_outside_quotes(
    tagger: Tagger, subs: Callable[..., tuple[SubCaption, ...]], make: Make
) -> None:
    text = 'The image shows a T-shirt with the words "RED CAT" amidst flowers.'
    (sub,) = subs(text)
    (tokens,) = tagger.tokens([text])
    assert not isinstance(tokens, Failed)
    words = words_of(sub, tokens, make(text))
    assert [word.text for word in words] == ["a", "t-shirt", "with", "the", "words", "amidst", "flowers", "."]
    assert words[-3].tag == "IN"
    assert all(text[word.start : word.end].lower() == word.text for word in words)
