"""Batches of questions about places: what is learnt where."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from recaption.demo import model_path
from recaption.tasks.box_formats import normalised, read
from recaption.tasks.boxes import iou
from training.locate.blocks import PLACE, SAY, BlockSampler, boxes_of, loc
from training.locate.build import LOCS, STEP, load
from training.locate.learner import Locator
from training.locate.phrases import WHOLE
from training.scene.batches import IGNORE
from training.scene.pool import load_pool, mirrored


@pytest.fixture(scope="module")
def loaded():
    torch.manual_seed(0)
    return load(model_path())


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return load_pool(tmp_path_factory.mktemp("pool") / "pool.npy", 4, seed=0, processes=1, jitter=True)


@pytest.fixture(scope="module")
def batch(loaded, pool):
    return next(iter(BlockSampler(*pool, loaded[1].tokenizer, batch_size=4, seed=0)))


def test_targets(batch):
    assert ((batch.roles == 0) == (batch.targets == IGNORE)).all()
    assert (batch.roles == PLACE).sum() % 4 == 0
    occupied = batch.cells[:, :, 0] == 1
    assert ((batch.boxes[..., 2] > batch.boxes[..., 0]) == occupied).all()
    rows, ends = (batch.points >= 0).nonzero(as_tuple=True)
    pointed = batch.points[rows, ends]
    assert (occupied[rows, pointed.clamp(max=8)] | (pointed == WHOLE)).all()


def test_the_answer_is_read_by_the_task(batch, loaded):
    tokenizer = loaded[1].tokenizer
    first = (batch.roles[0] > 0).nonzero()[0, 0]
    stop = (batch.targets[0] == tokenizer.eos_token_id).nonzero()[0, 0]
    text = tokenizer.decode(batch.targets[0, first:stop])
    boxes = [normalised("florence2", found.numbers) for found in read("florence2", text)]
    assert boxes
    true = [tuple(box) for box in batch.boxes[0].tolist()] + [(0.0, 0.0, 1.0, 1.0)]
    assert all(max(iou(box, one) for one in true if one[2] > one[0]) > 0.9 for box in boxes)


def test_coordinates():
    assert [loc(share) for share in (0.0, 0.0055, 0.5, 1.0)] == [0, 1, 100, len(LOCS) - 1]
    assert all(abs((STEP * loc(k / 777) + 0.5) / 1000 - k / 777) <= 0.0026 for k in range(770))


def test_a_mirrored_scene_has_mirrored_boxes(pool):
    scene = pool[1][0]
    flipped = boxes_of(scene, flip=True)
    assert {*flipped} == {o.cell for o in mirrored(scene).objects}
    for x0, y0, x1, y1 in boxes_of(scene).values():
        assert (1 - x1, y0, 1 - x0, y1) in flipped.values()


def test_losses(batch, loaded):
    sampler_first = loaded[1].tokenizer.convert_tokens_to_ids(LOCS[0])
    learner = Locator(loaded[0], sampler_first).train()
    tokens = learner.see(batch.pixels)
    losses = learner.losses(tokens, batch)
    assert 0 <= losses.words <= 1 and 0 <= losses.near <= 1 and 0 <= losses.pointed <= 1
    total = losses.say + losses.place + losses.point + losses.box + losses.placed
    (total + learner.boxes_seen(tokens, batch) + learner.look_up(tokens, batch)[0]).backward()
    assert all(p.grad is not None for p in learner.parameters())
    assert {*batch.roles.unique().tolist()} == {0, SAY, PLACE}
