"""Scenes rendered ahead of training, so that the two cores train instead of drawing.

A scene takes about 5 ms to draw and squeeze, one training step per sample about as long; a pool of tens of thousands
is drawn once and gone through several times, mirrored at random. Seeds from `TRAIN_SEEDS` on are for training only:
everything below is unseen by construction.
"""

from __future__ import annotations

import io
import multiprocessing
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from recaption.demo.scenes import Scene, render_with_boxes, sample_scene

TRAIN_SEEDS = 1_000_000_000
SIDE = 144  # px the model sees


def squeeze(image: Image.Image) -> Image.Image:
    """To the model's square, as transformers' Idefics3 image processor does it (Lanczos)."""
    return image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)


def training_pixels(scene: Scene, *, jitter: bool = False) -> np.ndarray:
    """uint8 [SIDE, SIDE, 3]: drawn at one of several sizes, half of them through JPEG, as the demo's images are."""
    rng = random.Random(f"pool/{scene.seed}")
    image, _ = render_with_boxes(scene, rng.choice((SIDE, 192, 256)), jitter=jitter)
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.choice((75, 85, 92, 95)))
        image = Image.open(buffer)
    return np.asarray(squeeze(image))


def mirrored(scene: Scene) -> Scene:
    """The scene as seen in a mirror: columns swapped, objects again in reading order."""
    items = [replace(o, cell=3 * o.row + 2 - o.column) for o in scene.objects]
    return replace(scene, objects=tuple(sorted(items, key=lambda o: o.cell)))


def jittered(scene: Scene) -> bool:
    """Whether a pool with jitter draws this scene with it: four of five."""
    return scene.seed % 5 > 0


def _fill(job: tuple[str, int, int, int, bool]) -> int:
    path, seed, start, stop, jitter = job
    pool = np.load(path, mmap_mode="r+")
    for i in range(start, stop):
        scene = sample_scene(TRAIN_SEEDS + seed * 10_000_000 + i)
        pool[i] = training_pixels(scene, jitter=jitter and jittered(scene))
    return stop - start


def load_pool(
    path: Path, n: int, seed: int, processes: int = 2, *, jitter: bool = False
) -> tuple[np.ndarray, list[Scene]]:
    """`n` scenes and their pixels, uint8 [n, SIDE, SIDE, 3], in memory; drawn first if `path` does not hold them yet.

    With `jitter`, positions and sizes vary more in the scenes that `jittered` chooses.

    Read whole (62 kB a scene), not mapped: picked at random from a file that the system kept dropping from its cache, a
    step of 64 took 2.7 s in place of 0.3 s.
    """
    scenes = [sample_scene(TRAIN_SEEDS + seed * 10_000_000 + i) for i in range(n)]
    if not path.exists():
        part = path.with_suffix(".part")
        np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=(n, SIDE, SIDE, 3)).flush()
        jobs = [(str(part), seed, i, min(n, i + 500), jitter) for i in range(0, n, 500)]
        with multiprocessing.get_context("spawn").Pool(processes) as workers:
            for _ in workers.imap_unordered(_fill, jobs):
                pass
        part.rename(path)
    pool = np.load(path)
    if len(pool) != n:
        raise ValueError(f"{path} holds {len(pool)} scenes, {n} asked for: delete it or ask for as many")
    return pool, scenes
