"""Blocks behind one image: what is learnt where, and that each question is computed as if asked alone."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from recaption.demo import model_path
from training.scene.batches import IGNORE
from training.scene.pool import load_pool
from training.verify.blocks import ANSWER, CAPTION, SAY, BlockSampler, Continuations
from training.verify.build import load, question
from training.verify.learner import Verifier


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    return load(model_path(), tmp_path_factory.mktemp("processor"))


@pytest.fixture(scope="module")
def batch(loaded, tmp_path_factory):
    pool = load_pool(tmp_path_factory.mktemp("pool") / "pool.npy", 6, seed=0, processes=1)
    return next(iter(BlockSampler(*pool, loaded[1].tokenizer, batch_size=6, seed=0, caption_share=0.5)))


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([1, 2, 3], [{1}, {2}, {3}]),
        ([1, 9, 3], [{1}, {2, 4}, {0}]),
        ([9, 2, 3], [{1, 7}, {0}, {0}]),
        ([7], [{7}]),
    ],
)
def test_continuations(ids, expected):
    truths = Continuations([[1, 2, 3], [1, 4, 5], [7]])
    found = truths.targets(ids, 0, random.Random(0))
    assert all(token in allowed for token, allowed in zip(found, expected, strict=True))


def test_targets(batch, loaded):
    tokenizer = loaded[1].tokenizer
    yes, no, end = tokenizer.convert_tokens_to_ids(["yes", "no", tokenizer.eos_token])
    assert ((batch.roles == 0) == (batch.targets == IGNORE)).all()
    answers = [claim.change is None for claims in batch.claims for claim in claims]
    wanted = batch.targets[batch.roles == ANSWER]
    assert wanted.tolist() == [yes if true else no for true in answers]
    assert len({*answers}) == 2
    described = batch.roles == CAPTION
    assert (batch.targets[described] == end).sum() > len(answers)  # an end for each answer, and for each caption
    true = [claim.text for claims in batch.claims for claim in claims if claim.change is None]
    said = batch.targets[batch.roles == SAY]
    assert (said != no).sum() > 2 * len(true)
    assert (said == no).any()


def test_a_block_is_computed_as_if_asked_alone(batch, loaded):
    model, processor = loaded
    learner = Verifier(model).eval()
    claim = batch.claims[0][-1]
    content = [{"type": "image"}, {"type": "text", "text": question(claim.text)}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    around = "<fake_token_around_image>"
    prompt = prompt.replace("<image>", f"{around}<global-img>{'<image>' * 9}{around}")
    ids = processor.tokenizer(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        hidden = learner.hidden(learner.see(batch.pixels), batch)
        at = (batch.roles[0] == ANSWER).nonzero()[-1, 0]
        together = model.lm_head(hidden[0, at])
        alone = model(input_ids=ids, pixel_values=batch.pixels[:1, None]).logits[0, -1]
    assert torch.allclose(together, alone, atol=1e-4)


def test_losses(batch, loaded):
    learner = Verifier(loaded[0]).train()
    tokens = learner.see(batch.pixels)
    losses = learner.losses(tokens, batch)
    assert len(losses.answered) == sum(map(len, batch.claims))
    assert ((losses.answered >= 0) & (losses.answered <= 1)).all()
    (losses.caption + losses.answer + losses.say + learner.look_up(tokens, batch)[0]).backward()
    assert all(p.grad is not None for p in learner.parameters())
    learner.zero_grad(set_to_none=True)
