"""The evaluation of the text model, on models whose errors are known."""

from __future__ import annotations

import json
import re

from recaption.demo.scenes import sample_scene
from training.reword.evaluate import evaluate
from training.reword.negatives import negatives
from training.reword.rewrites import rewrites

SCENES = [sample_scene(seed) for seed in range(660_100_000, 660_100_006)]


def right(prompts):
    """The rules' answers."""
    answers = []
    for text in prompts:
        if text.startswith("This sentence describes an image: "):
            sentence = text.splitlines()[0].removeprefix("This sentence describes an image: ")
            answers.append(json.dumps([{"text": new, "category": kind} for new, kind in negatives(sentence)]))
        else:
            answers.append(json.dumps(rewrites(text.splitlines()[1])))
    return answers


def test_a_model_without_errors():
    result = evaluate(right, SCENES)
    assert result["negatives"]["exactly_ten_different"] == 1.0
    assert result["negatives"]["texts"] == 10 * result["negatives"]["sentences"]
    assert result["negatives"]["category_right"] == result["negatives"]["one_change"] == 1.0
    assert result["negatives"]["false"] >= 0.99
    assert result["rewrites"]["exactly_five_different"] == result["rewrites"]["all_facts_kept"] == 1.0


def test_a_model_that_confuses_categories_and_places():
    swapped = {"left": "right", "right": "left", '"object"': '"attribute"', '"attribute"': '"object"'}

    def wrong(prompts):
        return [re.sub("|".join(swapped), lambda found: swapped[found[0]], answer) for answer in right(prompts)]

    result = evaluate(wrong, SCENES)
    assert result["negatives"]["category_right"] < 0.5
    assert result["rewrites"]["all_facts_kept"] < 0.5
    assert result["rewrites"]["wrong_examples"]


def test_a_model_that_repeats_itself():
    result = evaluate(lambda prompts: ["[]"] * len(prompts), SCENES)
    assert result["negatives"]["exactly_ten_different"] == result["rewrites"]["exactly_five_different"] == 0
    assert result["rewrites"]["all_facts_kept_of_texts_asked_for"] == 0
