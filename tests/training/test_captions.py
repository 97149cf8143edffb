"""Captions of scenes are correct and depend on visible properties only."""

from __future__ import annotations

from recaption.demo.scenes import Scene, sample_scene
from training.scene.captions import describe_long, describe_short
from training.scene.check import check_long, check_short, split

SEEDS = range(300)


def test_long_captions_have_five_to_nine_correct_sentences():
    for scene in map(sample_scene, SEEDS):
        caption = describe_long(scene)
        assert 5 <= len(split(caption)) <= 9
        verdict = check_long(caption, scene)
        assert verdict.right
        assert sum(s.kind == "object" for s in verdict.statements) == len(scene.objects)


def test_short_captions_are_one_correct_sentence():
    for scene in map(sample_scene, SEEDS):
        assert len(split(describe_short(scene))) == 1
        assert check_short(describe_short(scene), scene)


def test_captions_depend_on_visible_properties_only():
    scene = sample_scene(5)
    again = Scene(seed=99, background=scene.background, objects=scene.objects)
    assert describe_long(scene) == describe_long(again)
    assert describe_short(scene) == describe_short(again)
