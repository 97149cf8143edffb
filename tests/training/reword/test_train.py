"""The text model's tokens and batches; a training run of a few steps stops, continues and exports."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from recaption.demo.scenes import sample_scene
from training.reword.build import build_tokenizer
from training.reword.samples import Sampler, chat, negatives_sample, rewrite_sample
from training.reword.train import Plan, train
from training.scene.batches import IGNORE


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def test_texts_are_few_tokens(tokenizer):
    rng = random.Random(0)
    for seed in range(10):
        for make, most in ((negatives_sample, 310), (rewrite_sample, 480)):
            sample = make(sample_scene(seed), rng)
            text = chat(sample.prompt) + sample.answer
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert len(ids) <= most
            assert tokenizer.decode(ids) == text


def test_prompts_are_those_of_the_chat_template(tokenizer):
    told = tokenizer.apply_chat_template(
        [{"role": "user", "content": "A dog."}], add_generation_prompt=True, tokenize=False
    )
    assert told == chat("A dog.")


def test_only_answers_are_learnt(tokenizer):
    batches = iter(Sampler(tokenizer, tokens=1500, seed=0))
    for batch in (next(batches), next(batches)):
        learnt = batch.labels != IGNORE
        assert (batch.labels[learnt] == batch.input_ids[learnt]).all()
        ends = (batch.labels == tokenizer.eos_token_id).sum(1)
        assert (ends == 1).all()
        assert tokenizer.decode(batch.labels[0][learnt[0]])[0] == "["


def test_a_run_continues_and_exports(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options = {"out": tmp_path / "model", "work": tmp_path / "work", "tokens": 500, "log_every": 1}
    threads = torch.get_num_threads()
    train(Plan(**options, steps=1, threads=threads))
    train(Plan(**options, steps=2, threads=threads))
    log = (tmp_path / "work" / "train.log").read_text()
    assert "from step 1" in log
    assert "done at step 2" in log
    model = AutoModelForCausalLM.from_pretrained(options["out"])
    assert len(AutoTokenizer.from_pretrained(options["out"])) == model.config.vocab_size
    assert sum(p.stat().st_size for p in options["out"].iterdir()) < 5_000_000
