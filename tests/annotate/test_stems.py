"""Stems, and which words imply others."""

from __future__ import annotations

import pytest

from recaption.annotate.stems import implied_by, stem


@pytest.mark.parametrize(
    ("word", "other"), [("riding", "rides"), ("couch", "sofa"), ("wooden", "wood"), ("running", "ran"), ("men", "man")]
)
def test_words_with_the_same_stem(word: str, other: str) -> None:
    assert stem(word) == stem(other)


@pytest.mark.parametrize(
    ("part", "general", "word"),
    [
        ("noun", "person", "man"),
        ("noun", "animal", "giraffe"),
        ("noun", "airplane", "plane"),
        ("noun", "water", "lake"),
        ("verb", "look", "watch"),
        ("adj", "large", "massive"),
    ],
)
def test_a_word_implies_its_synonyms_and_more_general_ones(part: str, general: str, word: str) -> None:
    assert stem(word) in implied_by(part, stem(general))
