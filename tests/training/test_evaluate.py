"""The figures add up for captioners whose mistakes are known."""

from __future__ import annotations

import pytest

from recaption.demo.scenes import sample_scene
from training.scene.captions import describe_long, describe_short, phrase
from training.scene.evaluate import evaluate, photograph
from training.scene.prompts import LONG_PROMPTS

SCENES = [sample_scene(seed) for seed in range(40)]


def test_the_truth_is_all_right():
    def truth(images, question):
        return [(describe_long if question == LONG_PROMPTS[0] else describe_short)(s) for s in SCENES]

    result = evaluate(truth, SCENES, [None] * len(SCENES))
    for figure in ("object_sentences_right", "long_captions_right", "long_captions_exact", "short_captions_right"):
        assert result[figure] == 1
    assert result["object_sentences"] == result["objects"] == sum(len(s.objects) for s in SCENES)
    assert result["objects_missed"] == 0
    assert set(result["attributes_right"].values()) == set(result["statements_right"].values()) == {1}
    assert result["wrong_examples"] == []


def test_one_wrong_colour_is_one_wrong_sentence():
    captions = [describe_long(s) for s in SCENES]
    item = SCENES[0].objects[0]
    other = "red" if item.colour != "red" else "blue"
    captions[0] = captions[0].replace(phrase(item), phrase(item).replace(item.colour, other))

    def mistaken(images, question):
        return captions if question == LONG_PROMPTS[0] else [describe_short(s) for s in SCENES]

    result = evaluate(mistaken, SCENES, [None] * len(SCENES))
    total = result["objects"]
    assert result["object_sentences_right"] == pytest.approx(1 - 1 / total, abs=1e-4)
    assert result["attributes_right"]["colour"] == pytest.approx(1 - 1 / total, abs=1e-4)
    assert result["attributes_right"]["shape"] == 1
    assert result["long_captions_right"] == pytest.approx(1 - 1 / len(SCENES))
    assert [e["seed"] for e in result["wrong_examples"]] == [SCENES[0].seed]


def test_a_photograph_has_been_through_jpeg():
    image = photograph(SCENES[0], size=64)
    assert image.size == (64, 64)
    assert image.mode == "RGB"
