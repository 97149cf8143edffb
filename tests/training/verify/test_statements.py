"""Statements are true or false as the checker finds them, and each change changes one thing."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from recaption.demo.scenes import Scene, SceneObject, sample_scene
from training.scene.check import check_sentence
from training.verify.statements import CHANGES, changed, object_sentence, sample_claim, true_sentences

SCENE = Scene(
    seed=0,
    background="wood",
    objects=(
        SceneObject(cell=0, size="small", colour="red", fill="solid", shape="star"),
        SceneObject(cell=8, size="large", colour="orange", fill="hollow", shape="heart"),
    ),
)


def test_all_sentences_are_true():
    for seed in range(50):
        scene = sample_scene(seed)
        for kind, sentences in true_sentences(scene).items():
            for sentence in sentences:
                statement = check_sentence(sentence.removesuffix("."), scene)
                assert (statement.kind, statement.right) == (kind, True), sentence


def test_relations_in_both_orders():
    assert true_sentences(SCENE)["relation"] == [
        "The red star is above the orange heart.",
        "The orange heart is below the red star.",
    ]


@pytest.mark.parametrize("kind", sorted(CHANGES))
def test_a_change_makes_it_false(kind):
    found = Counter()
    for seed in range(150):
        scene = sample_scene(seed)
        rng = random.Random(seed)
        for sentence in true_sentences(scene)[kind]:
            claim = changed(sentence, kind, scene, rng)
            if claim is None:
                continue
            assert not check_sentence(claim.text.removesuffix("."), scene).right
            assert check_sentence(claim.text.removesuffix("."), scene).kind == kind
            found[claim.change] += 1
    assert set(found) == set(CHANGES[kind])


def test_one_attribute_is_changed_and_named():
    sentence = object_sentence(SCENE.objects[0])
    for seed in range(40):
        claim = changed(sentence, "object", SCENE, random.Random(seed))
        wrong = check_sentence(claim.text.removesuffix("."), SCENE).wrong
        if claim.change == "place_empty":
            assert wrong == ("place",)
        elif claim.change == "place_taken":
            assert claim.text == object_sentence(SCENE.objects[0], 8)
        else:
            assert wrong == (claim.change,)


def test_a_relation_that_the_places_allow_is_no_change():
    # The star is also to the left of the heart, although captions call it above.
    texts = set()
    for seed in range(200):
        claim = changed("The red star is above the orange heart.", "relation", SCENE, random.Random(seed))
        texts.add(claim.text)
    assert "The red star is to the left of the orange heart." not in texts
    assert "The red star is to the right of the orange heart." in texts
    assert "The orange heart is above the red star." in texts


def test_the_article_follows_the_word():
    item = SceneObject(cell=4, size="small", colour="red", fill="solid", shape="star")
    assert object_sentence(item) == "In the centre sits a small solid red star."


def test_what_cannot_be_changed():
    assert changed("There is no text in the image.", "negation", SCENE, random.Random(0)) is None
    assert changed("Something else.", "object", SCENE, random.Random(0)) is None


def test_half_of_the_samples_are_true():
    rng, true, n = random.Random(0), 0, 0
    for seed in range(400):
        scene = sample_scene(seed)
        sentences = true_sentences(scene)
        for _ in range(5):
            claim = sample_claim(scene, sentences, rng)
            right = check_sentence(claim.text.removesuffix("."), scene).right
            assert right == (claim.change is None)
            true, n = true + right, n + 1
    assert 0.45 < true / n < 0.6
