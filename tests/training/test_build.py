"""Tokenizer, processor and configuration fit each other."""

from __future__ import annotations

import pytest

from recaption.demo.scenes import sample_scene
from training.scene.captions import describe_long, describe_short

pytest.importorskip("torch")
pytest.importorskip("transformers")

from training.scene import build
from training.scene.prompts import LONG_PROMPTS


@pytest.fixture(scope="module")
def tokenizer():
    return build.build_tokenizer()


@pytest.mark.parametrize(
    "text", ["Zażółć gęślą jaźń, 日本語 🙂", "In the top left corner", "  spaces \n\n and\tlines "]
)
def test_any_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_captions_come_back_and_are_short(tokenizer):
    for seed in range(100):
        for caption in (describe_long(sample_scene(seed)), describe_short(sample_scene(seed))):
            ids = tokenizer(caption)["input_ids"]
            assert tokenizer.decode(ids, skip_special_tokens=True) == caption
            assert len(ids) < 60


def test_the_processor_makes_what_training_saw(tokenizer):
    from PIL import Image

    processor = build.build_processor(tokenizer)
    content = [{"type": "image"}, {"type": "text", "text": LONG_PROMPTS[0]}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(images=[[Image.new("RGB", (200, 123))]], text=[prompt], return_tensors="pt")
    assert inputs["input_ids"][0].tolist() == tokenizer(build.prompt_text(LONG_PROMPTS[0]))["input_ids"]
    assert tuple(inputs["pixel_values"].shape) == (1, 1, 3, build.SIDE, build.SIDE)


def test_the_template_takes_plain_strings_and_earlier_answers(tokenizer):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
        {"role": "assistant", "content": "Yes."},
    ]
    processor = build.build_processor(tokenizer)
    assert processor.apply_chat_template(messages) == (
        "<|im_start|>system\nBe brief.<end_of_utterance>\n<|im_start|>user\nHi<end_of_utterance>\n"
        "<|im_start|>assistant\nYes.<end_of_utterance>\n"
    )


def test_the_model_fits(tokenizer):
    model = build.build_model(tokenizer)
    assert 1_000_000 < sum(p.numel() for p in model.parameters()) < 5_000_000
    assert model.model.image_seq_len == build.IMAGE_TOKENS == 9
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
