"""Training: its schedule, and a run of a few steps that stops, goes on and exports what transformers loads."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from recaption.demo.scenes import SHAPES, sample_scene
from training.scene.batches import HEADS, IGNORE, Sampler, cell_classes
from training.scene.build import build_model, build_tokenizer
from training.scene.learner import Learner, position_maps
from training.scene.pool import load_pool
from training.scene.train import Plan, rate_at, train


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return load_pool(tmp_path_factory.mktemp("pool") / "pool.npy", 8, seed=0, processes=1)


def test_cell_classes():
    scene = sample_scene(2)
    classes = cell_classes(scene)
    assert classes.shape == (9, len(HEADS))
    assert classes[:, 0].sum() == len(scene.objects)
    for item in scene.objects:
        assert SHAPES[classes[item.cell, -1]] == item.shape
    assert (classes[classes[:, 0] == 0, 1:] == IGNORE).all()


def test_bfloat16_puts_two_rows_on_one_position():
    exact, coarse, _ = position_maps(6)
    assert exact.tolist() == list(range(36))
    assert coarse[-1].item() == 28


def test_batches_and_losses(pool):
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    learner = Learner(build_model(tokenizer))
    batch = next(iter(Sampler(*pool, tokenizer, batch_size=4, seed=0)))
    assert batch.input_ids.shape == batch.labels.shape
    assert ((batch.labels == IGNORE) | (batch.labels == batch.input_ids)).all()
    assert batch.pixels.min() >= -1
    assert batch.pixels.max() <= 1
    tokens = learner.see(batch.pixels)
    auxiliary, right = learner.look_up(tokens, batch)
    assert right.shape == (2,)
    half = batch.every(2)
    assert half.labels.shape[0] == 2
    (auxiliary + learner.describe(tokens[::2], half)).backward()
    assert all(p.grad is not None for p in learner.model.parameters())


def test_the_learner_sees_as_the_model_does(pool):
    tokenizer = build_tokenizer()
    torch.manual_seed(0)
    learner = Learner(build_model(tokenizer)).eval()
    batch = next(iter(Sampler(*pool, tokenizer, batch_size=2, seed=0)))
    with torch.no_grad():
        seen = learner.see(batch.pixels)
        model = learner.model.model.get_image_features(batch.pixels[:, None]).pooler_output
        assert torch.allclose(seen, model, atol=1e-5)
        logits = learner.model(input_ids=batch.input_ids, pixel_values=batch.pixels[:, None]).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch.labels[:, 1:].flatten())
        assert torch.allclose(learner.describe(seen, batch), loss, atol=1e-4)


def test_the_rate_warms_up_stays_and_falls():
    plan = Plan(out=None, work=None, steps=100, rate=1.0, see_share=0.2)
    assert rate_at(0.0, plan) < 0.1
    assert rate_at(0.1, plan) == rate_at(0.2, plan) == 1.0
    assert rate_at(0.6, plan) == pytest.approx(0.5)
    assert rate_at(1.0, plan) == pytest.approx(0.0)


def test_a_run_goes_on_and_exports(tmp_path):
    from transformers import AutoModelForImageTextToText, AutoProcessor

    options = {"out": tmp_path / "model", "work": tmp_path / "work", "batch_size": 2, "pool": 4, "log_every": 1}
    threads = torch.get_num_threads()
    train(Plan(**options, steps=1, threads=threads))
    train(Plan(**options, steps=2, threads=threads))
    log = (tmp_path / "work" / "train.log").read_text()
    assert "from step 0" in log
    assert "from step 1" in log
    assert "done at step 2" in log
    model = AutoModelForImageTextToText.from_pretrained(options["out"])
    assert model.dtype == torch.bfloat16
    assert AutoProcessor.from_pretrained(options["out"]).image_seq_len == 9
    assert sum(p.stat().st_size for p in options["out"].iterdir()) < 10_000_000
