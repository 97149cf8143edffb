"""The shipped weights describe scenes they have not seen."""

from __future__ import annotations

import json

import pytest

from recaption.demo import model_path
from recaption.demo.scenes import sample_scene
from training.scene.captions import describe_long, describe_short
from training.scene.evaluate import FIRST_SEED, evaluate, photograph, transformers_captioner
from training.scene.prompts import LONG_PROMPTS, SHORT_PROMPTS

pytest.importorskip("torch")
pytest.importorskip("transformers")

SCENES = [sample_scene(seed) for seed in range(FIRST_SEED + 100_000, FIRST_SEED + 100_040)]


@pytest.fixture(scope="module")
def captioner(one_thread):
    return transformers_captioner(model_path())


@pytest.fixture(scope="module")
def images():
    return [photograph(scene) for scene in SCENES]


def test_the_model_is_small_and_complete():
    files = {p.name: p.stat().st_size for p in model_path().iterdir()}
    assert sum(files.values()) < 10_000_000
    assert {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    } <= {*files}
    config = json.loads((model_path() / "config.json").read_text())
    assert config["architectures"] == ["Idefics3ForConditionalGeneration"]
    assert config["dtype"] == "bfloat16"


def test_unseen_scenes_are_described(captioner, images):
    result = evaluate(captioner, SCENES, images)
    assert result["object_sentences_right"] >= 0.9
    assert result["objects_missed"] <= 0.05 * result["objects"]
    assert result["statements_right"]["count"] >= 0.9
    assert result["statements_right"]["background"] >= 0.9


@pytest.mark.parametrize("question", [LONG_PROMPTS[1], "Tell me about the objects in this picture, please."])
def test_other_prompts_get_a_long_answer(captioner, images, question):
    answers = captioner(images[:8], question)
    assert sum(a.count(".") >= 5 for a in answers) >= 6


@pytest.mark.parametrize("question", [SHORT_PROMPTS[1], "Please write one short sentence about this image."])
def test_short_questions_get_one_sentence(captioner, images, question):
    answers = captioner(images[:8], question)
    assert sum(a.count(".") == 1 for a in answers) >= 6


def test_size_and_shape_of_the_image_hardly_matter(captioner):
    scene = SCENES[0]
    large, wide = photograph(scene, size=512), photograph(scene).resize((320, 240))
    for answer in captioner([large, wide], LONG_PROMPTS[0]):
        assert answer.split(".")[0] == describe_long(scene).split(".")[0]
    assert len(captioner([large], SHORT_PROMPTS[0])[0]) > 0.5 * len(describe_short(scene))
