"""The shipped verifier finds false statements about scenes it has not seen, and still describes them."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from recaption.demo import model_path
from recaption.demo.scenes import sample_scene
from training.scene.captions import describe_long
from training.scene.evaluate import evaluate, photograph, transformers_captioner
from training.verify.evaluate import FIRST_SEED, Rule, figures, judged, transformers_judge

pytest.importorskip("torch")
pytest.importorskip("transformers")

SEEDS = range(FIRST_SEED + 100_000, FIRST_SEED + 100_040)
MODEL = model_path("scene-verifier")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def measured():
    def caption(images, question):
        return [describe_long(sample_scene(seed)) for seed in SEEDS]

    return judged(caption, transformers_judge(MODEL), SEEDS)


def rule(method):
    found = json.loads((MODEL.parent / "verifier-evaluation.json").read_text())["verification"][method]
    return Rule(**{f.name: found[f.name] for f in fields(Rule)})


def test_the_model_is_small():
    assert sum(p.stat().st_size for p in MODEL.iterdir()) < 7_000_000
    config = json.loads((MODEL / "config.json").read_text())
    assert config["architectures"] == ["Idefics3ForConditionalGeneration"]
    assert config["dtype"] == "bfloat16"


@pytest.mark.parametrize(("method", "least"), [("ask", 0.6), ("likelihood", 0.7), ("both", 0.8)])
def test_false_statements_are_found(measured, method, least):
    found = figures(rule(method), measured)
    assert found["precision"] >= least
    assert found["recall"] >= least
    assert found["auroc"] >= least


def test_unseen_scenes_are_described():
    scenes = [sample_scene(seed) for seed in SEEDS]
    result = evaluate(transformers_captioner(MODEL), scenes, [photograph(scene) for scene in scenes])
    assert result["object_sentences_right"] >= 0.9
    assert result["objects_missed"] <= 0.05 * result["objects"]
