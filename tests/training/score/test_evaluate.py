"""The evaluation of dual encoders, on vectors whose scores are known."""

from __future__ import annotations

import random

import numpy as np

from recaption.demo.scenes import sample_scene
from training.score.evaluate import AMONG, absent_phrases, evaluate, retrieval
from training.score.texts import keys


def test_retrieval():
    own = np.eye(AMONG)
    assert retrieval(own, own) == {"image_of_text": 1.0, "text_of_image": 1.0}
    assert retrieval(own, own[::-1]) == {"image_of_text": 0.0, "text_of_image": 0.0}


def test_absent_phrases_are_absent():
    for seed in range(50):
        scene = sample_scene(seed)
        for present, absent in absent_phrases(scene, random.Random(seed)).values():
            assert 0 < len(present) == len(absent) <= len(scene.objects)
            assert {*present} <= keys(scene)
            assert not {*absent} & keys(scene)


def test_an_encoder_that_knows_the_scenes():
    scenes = [sample_scene(seed) for seed in range(AMONG)]
    known = [keys(scene) for scene in scenes]

    def encode(images, texts):
        bare = [text.split(" ", 1)[1] if text.startswith(("a ", "an ")) else text for text in texts]
        return np.eye(len(images)), np.array([[float(text in some) for some in known] for text in bare])

    result = evaluate(encode, scenes)
    assert all(found["auroc"] == 1.0 for found in result["objects"].values())
    assert all(share == 1.0 for share, _ in result["true_above_changed"].values())
    assert result["long_captions"] == {"image_of_text": 1.0, "text_of_image": 1.0}
