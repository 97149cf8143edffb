"""The evaluation of boxes, on models whose errors are known."""

from __future__ import annotations

from collections import Counter

import pytest

from recaption.demo.scenes import render_with_boxes, sample_scene
from training.locate.blocks import loc
from training.locate.build import LOCS, QUESTION
from training.locate.evaluate import evaluate
from training.locate.phrases import WHOLE, cells
from training.scene.evaluate import photograph

SCENES = [sample_scene(seed) for seed in range(650_100_000, 650_100_004)]
IMAGES = [photograph(scene, jitter=True) for scene in SCENES]


def model(*, invents: bool, shift: float = 0.0):
    """Answers with the true boxes, moved to the right by `shift`; `invents`: absent things have a box as well."""

    def answer(images, questions):
        answers = []
        for image, question in zip(images, questions, strict=True):
            scene = SCENES[next(n for n, one in enumerate(IMAGES) if one.tobytes() == image.tobytes())]
            boxes = dict(
                zip((o.cell for o in scene.objects), render_with_boxes(scene, 12, jitter=True)[1], strict=True)
            )
            boxes[WHOLE] = (0.0, 0.0, 1.0, 1.0)
            text = ""
            for phrase in question.removeprefix(QUESTION).split(","):
                found = [boxes[cell] for cell in cells(scene, phrase.strip())]
                for x0, y0, x1, y1 in found or ([(0.1, 0.1, 0.2, 0.2)] if invents else []):
                    text += phrase + "".join(LOCS[loc(edge)] for edge in (x0 + shift, y0, x1 + shift, y1))
            answers.append(text)
        return answers

    return answer


def test_true_boxes():
    result = evaluate(model(invents=False), SCENES, each=True, fit_scenes=40)
    assert result["objects"]["boxes"] == sum(len(scene.objects) for scene in SCENES)
    assert result["objects"]["iou_0.75"] == 1.0 and result["objects"]["mean_iou"] > 0.95
    assert result["absent"]["located"] == 0 and not result["wrong_examples"]
    assert result["constant"]["iou_0.75"] < 0.6


def test_wrong_boxes():
    result = evaluate(model(invents=True, shift=0.2), SCENES, each=True, fit_scenes=1)
    assert result["objects"]["iou_0.5"] < 0.2
    assert result["absent"]["located"] > 2 * len(SCENES) - 2
    assert Counter(len(one["said"]) for one in result["wrong_examples"]).keys() == {1}


def test_no_boxes():
    result = evaluate(lambda images, questions: ["nothing"] * len(images), SCENES, each=True, fit_scenes=1)
    assert result["objects"]["mean_iou"] == pytest.approx(0)
