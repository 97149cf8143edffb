"""The shipped box model answers about scenes it has not seen in the format that task `regions` reads."""

from __future__ import annotations

import json

import pytest

from recaption.demo import model_path
from recaption.demo.scenes import sample_scene
from training.locate.evaluate import FIRST_SEED, evaluate
from training.scene.evaluate import transformers_answerer

pytest.importorskip("torch")
pytest.importorskip("transformers")

MODEL = model_path("scene-boxes")
SCENES = [sample_scene(seed) for seed in range(FIRST_SEED + 100_000, FIRST_SEED + 100_030)]


pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_model_is_small():
    assert sum(p.stat().st_size for p in MODEL.iterdir()) < 4_000_000
    config = json.loads((MODEL / "config.json").read_text())
    assert config["architectures"] == ["Idefics3ForConditionalGeneration"]
    assert config["dtype"] == "bfloat16"


def test_objects_of_unseen_scenes_are_located():
    """The figures of `boxes-evaluation.json`, on fewer scenes."""
    measured = json.loads((MODEL.parent / "boxes-evaluation.json").read_text())["one_phrase"]["objects"]
    found = evaluate(transformers_answerer(MODEL), SCENES, each=True, fit_scenes=1)["objects"]
    assert found["mean_iou"] >= measured["mean_iou"] - 0.1
    assert found["iou_0.5"] >= measured["iou_0.5"] - 0.15
