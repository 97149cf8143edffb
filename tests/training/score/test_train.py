"""A short training run of the dual encoder; what it exports is loaded by transformers and by the engine's method."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from recaption.demo import model_path
from recaption.demo.scenes import render, sample_scene
from training.scene.pool import load_pool
from training.score.build import TEXT_LENGTH, build_model, build_tokenizer
from training.score.evaluate import transformers_encoder
from training.score.train import batches, encode_texts, loss_of, main


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(model_path())


@pytest.fixture(scope="module")
def model(tokenizer):
    torch.manual_seed(0)
    return build_model(model_path(), tokenizer)


def test_the_first_word_of_a_text_is_the_usual_token(tokenizer):
    first, *_, last = tokenizer("a large a")["input_ids"]
    assert first == last
    assert len(tokenizer("In the centre sits a small solid red star.")["input_ids"]) == 6


def test_texts_are_encoded_as_if_padded(model, tokenizer):
    texts = ["a red star", "The image shows five objects. The background is plain white.", "x " * 80]
    inputs = tokenizer(texts, return_tensors="pt", padding="max_length", truncation=True, max_length=TEXT_LENGTH)
    with torch.no_grad():
        padded = torch.nn.functional.normalize(model.eval().get_text_features(**inputs).pooler_output, dim=-1)
        assert torch.allclose(encode_texts(model, tokenizer, texts[:2]), padded[:2], atol=1e-5)


def test_labels_and_gradients(model, tokenizer, tmp_path):
    pool = load_pool(tmp_path / "pool.npy", 8, seed=0, processes=1)
    pairs = next(batches(*pool, batch_size=6, seed=0))
    assert pairs.labels.shape == pairs.weights.shape == (6, len(pairs.texts))
    assert (pairs.own.sum(0) == 1).all()
    assert 0.4 < pairs.labels[pairs.own].mean() < 0.8
    assert pairs.weights[pairs.own].max() > pairs.weights[~pairs.own].max()
    loss, logits = loss_of(model.train(), tokenizer, pairs)
    assert logits.shape == pairs.labels.shape
    loss.backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert not without
    model.zero_grad(set_to_none=True)


def test_a_run_exports(tmp_path):
    threads = str(torch.get_num_threads())
    options = ["--batch-size", "2", "--pool", "4", "--steps", "1", "--log-every", "1", "--threads", threads]
    main(["--out", str(tmp_path / "model"), "--work", str(tmp_path), *options])
    assert "done at step 1" in (tmp_path / "score.log").read_text()
    assert sum(p.stat().st_size for p in (tmp_path / "model").iterdir()) < 5_000_000
    images, texts = transformers_encoder(tmp_path / "model")([render(sample_scene(0))], ["a red star", "a heart"])
    assert images.shape == (1, 128)
    assert texts.shape == (2, 128)
