"""Captions and queries of scenes: true ones are true, changed ones are not."""

from __future__ import annotations

import random

import pytest

from recaption.demo.scenes import sample_scene
from recaption.probe import scenes
from recaption.probe.scenes import CHANGES, Scenes


@pytest.mark.parametrize("kind", CHANGES)
def test_a_statement_is_true_and_its_change_is_not(kind: str) -> None:
    for seed in range(50):
        scene = sample_scene(seed)
        true, wrong = scenes.statement(scene, kind, random.Random(seed))
        said = scenes.sentences(scene)
        assert true in said and wrong not in said
        assert sum(a != b for a, b in zip(true.split(), wrong.split(), strict=False)) >= 1


def test_records_have_all_captions_with_exact_spans() -> None:
    record = scenes.record(sample_scene(1), 1)
    assert [caption.granularity for caption in record.captions] == ["raw", "short", "long"]
    long = record.captions[2]
    assert [long.text[sub.char_start : sub.char_end] for sub in long.sub_captions] == scenes.sentences(sample_scene(1))


def test_the_stated_share_of_sentences_is_corrupted() -> None:
    changed = total = 0
    for seed in range(200):
        scene = sample_scene(seed)
        made = scenes.record(scene, seed, 0.3)
        assert made == scenes.record(scene, seed, 0.3)
        for sub, true in zip(made.captions[2].sub_captions, scenes.sentences(scene), strict=True):
            changed += sub.text != true
            total += 1
    assert 0.25 < changed / total < 0.35


def test_left_and_right_are_exchanged() -> None:
    record = scenes.record(sample_scene(1), 1)
    made = scenes.exchanged(record, 0)
    assert made != record
    assert scenes.exchanged(made, 0) == record


def test_queries_are_about_scenes_that_are_not_trained_on() -> None:
    of = Scenes(images=20, held_out=7)
    assert not {scene.seed for scene in of.train} & {scene.seed for scene in of.test}
    queries = of.queries()
    assert [query.slice for query in queries] == ["statement", "statement", "statement", "short caption"] * 7
    assert queries == of.queries()
