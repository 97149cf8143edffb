"""Rewrites by rule keep all facts, and the task `rewrite` takes them."""

from __future__ import annotations

from itertools import combinations

import pytest

from recaption.demo.scenes import sample_scene
from recaption.tasks.wording import missing_words, moved_attribute, shared_ngrams, words_of
from training.reword.check import read
from training.reword.rewrites import STYLES, facts, rewrites
from training.reword.samples import pairs, words
from training.scene.captions import describe_long, describe_short

CAPTIONS = [make(sample_scene(seed)) for seed in range(60) for make in (describe_long, describe_short)]


def test_all_facts_are_kept():
    for caption in CAPTIONS:
        told = sorted(map(repr, facts(caption)))
        made = rewrites(caption)
        assert len(made) == len(STYLES)
        for text in made:
            assert sorted(map(repr, read(text))) == told, text
            assert not missing_words(text, words(caption))
            assert moved_attribute(text, pairs(caption)) is None


def test_they_differ():
    for caption in CAPTIONS:
        texts = [caption, *rewrites(caption)]
        assert max(shared_ngrams(a, b) for a, b in combinations(texts, 2)) <= 0.5
        lengths = [len(words_of(text)) / len(words_of(caption)) for text in texts]
        assert all(0.5 <= length <= 2 for length in lengths)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The middle holds a star that is small, solid and red.", [("object", 4, "small", "solid", "red", "star")]),
        ("People are missing. It stands alone.", [("negation", "people"), ("only",)]),
        ("The middle holds a dog that is small, solid and red.", None),
        ("From the red star one goes up to the blue heart.", [("relation", "red", "star", "below", "blue", "heart")]),
    ],
)
def test_reading(text, expected):
    assert read(text) == expected


def test_other_texts_have_none():
    assert rewrites("A dog sits on a mat.") == []
