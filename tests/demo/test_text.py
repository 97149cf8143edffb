"""The shipped text model writes negatives of unseen sentences in the form that the task reads."""

from __future__ import annotations

import json

import pytest

from recaption.demo import model_path
from recaption.demo.scenes import sample_scene
from training.reword.evaluate import FIRST_SEED, evaluate, transformers_writer

pytest.importorskip("torch")
pytest.importorskip("transformers")

MODEL = model_path("scene-text")
SCENES = [sample_scene(seed) for seed in range(FIRST_SEED + 100_000, FIRST_SEED + 100_012)]


pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_model_is_small():
    assert sum(p.stat().st_size for p in MODEL.iterdir()) < 5_000_000
    config = json.loads((MODEL / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == "bfloat16"


def test_unseen_sentences():
    """The figures of `text-evaluation.json`, on fewer scenes."""
    measured = json.loads((MODEL.parent / "text-evaluation.json").read_text())
    found = evaluate(transformers_writer(MODEL), SCENES, tasks=("negatives",))["negatives"]
    assert found["exactly_ten_different"] >= measured["negatives"]["exactly_ten_different"] - 0.2
    assert found["false"] >= measured["negatives"]["false"] - 0.05
