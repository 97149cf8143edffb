"""The training pool: drawn once, read again, mirrored truthfully."""

from __future__ import annotations

import numpy as np
import pytest

from recaption.demo import shards
from recaption.demo.scenes import sample_scene
from training.scene import evaluate
from training.scene.pool import SIDE, TRAIN_SEEDS, load_pool, mirrored, training_pixels


def test_a_mirrored_scene_is_the_mirror_image():
    scene = sample_scene(8)
    assert mirrored(mirrored(scene)) == scene
    assert [o.cell for o in mirrored(scene).objects] == sorted(o.cell for o in mirrored(scene).objects)
    assert {(o.row, 2 - o.column, o.name) for o in scene.objects} == {
        (o.row, o.column, o.name) for o in mirrored(scene).objects
    }


def test_training_pixels_are_repeatable():
    pixels = training_pixels(sample_scene(4))
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, training_pixels(sample_scene(4)))


def test_a_pool_is_drawn_once(tmp_path):
    path = tmp_path / "pool.npy"
    pool, scenes = load_pool(path, 3, seed=0, processes=1)
    written = path.stat().st_mtime_ns
    again, same = load_pool(path, 3, seed=0, processes=1)
    assert path.stat().st_mtime_ns == written
    assert scenes == same
    assert np.array_equal(pool, again)
    assert np.array_equal(pool[2], training_pixels(scenes[2]))
    with pytest.raises(ValueError, match="holds 3 scenes, 4 asked for"):
        load_pool(path, 4, seed=0)


def test_training_and_evaluation_share_no_scene():
    assert evaluate.FIRST_SEED + 1_000_000 < TRAIN_SEEDS
    assert shards.FIRST_SEED + 100 * shards.SEEDS_APART < TRAIN_SEEDS
