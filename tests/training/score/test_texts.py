"""Texts for the dual encoder, and of which scenes they are true."""

from __future__ import annotations

import random

from recaption.demo.scenes import sample_scene
from training.scene.captions import describe_long
from training.scene.check import check_long
from training.score.texts import changed_caption, keys, sample_texts, with_article


def test_about_half_of_the_texts_are_true():
    rng, true, n = random.Random(0), 0, 0
    for seed in range(200):
        scene = sample_scene(seed)
        found = [text.key in keys(scene) for text in sample_texts(scene, rng)]
        true, n = true + sum(found), n + len(found)
    assert 0.5 < true / n < 0.7


def test_a_scene_holds_what_is_true_of_it():
    scene = sample_scene(2)
    item = scene.objects[0]
    found = keys(scene)
    assert {describe_long(scene), item.name, f"{item.size} {item.fill} {item.name}"} <= found
    assert not {"black cat", describe_long(sample_scene(3))} & found


def test_a_changed_caption_has_one_error():
    for seed in range(50):
        scene = sample_scene(seed)
        verdict = check_long(changed_caption(scene, random.Random(seed)), scene)
        assert len([s for s in verdict.statements if not s.right]) == 1


def test_articles():
    texts = {with_article("orange star", random.Random(seed)) for seed in range(50)}
    assert texts == {"an orange star", "the orange star", "orange star", "An orange star"}
