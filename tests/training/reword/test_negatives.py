"""Negatives by rule change one thing, and make the sentence false."""

from __future__ import annotations

import pytest

from recaption.demo.scenes import sample_scene
from recaption.tasks.changes import difference
from training.reword.check import category, is_false
from training.reword.negatives import negatives
from training.scene.captions import describe_long, describe_short
from training.scene.check import split

SCENES = [sample_scene(seed) for seed in range(120)]
SENTENCES = [
    (scene, f"{text}.") for scene in SCENES for make in (describe_long, describe_short) for text in split(make(scene))
]


def test_each_has_one_change_of_its_category():
    found = set()
    for _, sentence in SENTENCES:
        made = negatives(sentence)
        assert len(made) == len({text for text, _ in made}) == (12 if made else 0)
        for text, kind in made:
            assert difference(sentence, text, kind).category == category(sentence, text) == kind
            found.add(kind)
    assert found == {"attribute", "object", "place", "relation", "swap"}


def test_nearly_all_are_false():
    """A changed name in a relation may be that of another object: the rule does not see the image."""
    results = [is_false(text, scene) for scene, sentence in SENTENCES for text, _ in negatives(sentence)]
    assert sum(results) / len(results) > 0.99


@pytest.mark.parametrize("sentence", ["There is no text.", "The background is plain black.", "A dog sits."])
def test_sentences_without_objects_have_none(sentence):
    assert negatives(sentence) == []


def test_the_article_follows_the_word():
    assert ("The background is an embroidered tablecloth.", "attribute") in negatives(
        "The background is a checkered tablecloth."
    )
