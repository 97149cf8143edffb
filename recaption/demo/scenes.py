"""Scenes with known ground truth: sample and render. `training.scene.captions` describes them.

A scene has one to five objects on a 3 x 3 grid and one of five backgrounds. Everything is a pure function of the scene:
`render` derives its jitter (position, size, shade, texture, noise) from `Scene.seed`. Needs Pillow only.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image

from recaption.demo import draw
from recaption.demo.draw import Box

SHAPES = ("circle", "square", "triangle", "diamond", "star", "heart")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
SIZES = ("small", "large")
FILLS = ("solid", "striped", "spotted", "hollow")
BACKGROUNDS = ("white", "black", "gradient", "tablecloth", "wood")
MAX_OBJECTS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneObject:
    """One object. `cell` is 3 * row + column, counted from the top left."""

    cell: int
    size: str
    colour: str
    fill: str
    shape: str

    @property
    def row(self) -> int:
        return self.cell // 3

    @property
    def column(self) -> int:
        return self.cell % 3

    @property
    def name(self) -> str:
        """Its name in captions, unique in a scene."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A scene: `objects` in reading order, each with a unique pair of colour and shape."""

    seed: int
    background: str
    objects: tuple[SceneObject, ...]


def sample_scene(seed: int) -> Scene:
    """Sample a scene: the number of objects and every attribute are uniform and derived from `seed`."""
    rng = random.Random(f"scene/{seed}")
    background = rng.choice(BACKGROUNDS)
    cells = sorted(rng.sample(range(9), rng.randint(1, MAX_OBJECTS)))
    names = rng.sample([(colour, shape) for colour in COLOURS for shape in SHAPES], len(cells))
    objects = tuple(
        SceneObject(cell=cell, size=rng.choice(SIZES), colour=colour, fill=rng.choice(FILLS), shape=shape)
        for cell, (colour, shape) in zip(cells, names, strict=True)
    )
    return Scene(seed=seed, background=background, objects=objects)


def render(scene: Scene, size: int = 256) -> Image.Image:
    """Draw `scene` as an RGB image of `size` x `size` pixels, antialiased and reproducible."""
    return render_with_boxes(scene, size)[0]


def render_with_boxes(scene: Scene, size: int = 256, *, jitter: bool = False) -> tuple[Image.Image, tuple[Box, ...]]:
    """`render`, and the boxes of the objects: left, top, right, bottom as shares of the side.

    With `jitter` positions and sizes vary more: see `draw.scene_object`.
    """
    rng = random.Random(f"render/{scene.seed}")
    big = 2 * size
    image = draw.background(scene.background, big, rng)
    boxes = tuple(draw.scene_object(image, item, rng, jitter=jitter) for item in scene.objects)
    image = image.resize((size, size), Image.Resampling.BOX)
    return draw.add_noise(image, rng), boxes
