"""The captioner's tokenizer gets a few pieces, and all its old tokens stay."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
from transformers import PreTrainedTokenizerFast

from recaption.demo import model_path
from recaption.demo.scenes import sample_scene
from training.scene.captions import describe_long, describe_short
from training.scene.prompts import LONG_PROMPTS, SHORT_PROMPTS
from training.verify.build import ASK, PIECES, QUESTION, extend_tokenizer, load, question


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load(model_path(), tmp_path_factory.mktemp("processor"))


def test_captions_and_prompts_keep_their_tokens(loaded):
    old = PreTrainedTokenizerFast.from_pretrained(model_path())
    new = loaded[1].tokenizer
    texts = [*LONG_PROMPTS, *SHORT_PROMPTS, "A dog, 12 cats; yes?\n"]
    for seed in range(100):
        scene = sample_scene(seed)
        texts += [describe_long(scene), describe_short(scene)]
    for text in texts:
        assert new(text)["input_ids"] == old(text)["input_ids"]


def test_a_question_is_few_tokens(loaded):
    tokenizer = loaded[1].tokenizer
    text = question("In the top left corner there is a small red solid star.")
    assert text.startswith(QUESTION)
    assert text.endswith(ASK)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == 8
    assert tokenizer.decode(ids) == text
    assert [len(tokenizer(word)["input_ids"]) for word in ("yes", "no")] == [1, 1]


def test_new_vectors_are_means_of_the_old(loaded):
    model, processor = loaded
    old = PreTrainedTokenizerFast.from_pretrained(model_path())
    weight = model.get_input_embeddings().weight
    assert len(weight) == len(processor.tokenizer) == len(old) + len(PIECES)
    new = processor.tokenizer.convert_tokens_to_ids("yes")
    assert torch.equal(weight[new], weight[old("yes")["input_ids"]].mean(0))


def test_extending_keeps_ids():
    raw = json.loads((model_path() / "tokenizer.json").read_text())
    before = dict(raw["model"]["vocab"])
    after = extend_tokenizer(raw)["model"]["vocab"]
    assert {k: after[k] for k in before} == before
    assert sorted(after.values()) == list(range(len(after)))
