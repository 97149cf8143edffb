"""Scenes whose ground truth is known: sample, render, describe.

A scene is one to five objects on a 3 x 3 grid before one of five backgrounds. Everything is a pure function of the
scene: `render` takes its jitter (position, size, shade, texture, noise) from `Scene.seed`, and the captions depend on
what can be seen and on nothing else, so a greedy model can learn them to the letter. Needs Pillow only.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image

from recaption.demo import draw

SHAPES = ("circle", "square", "triangle", "diamond", "star", "heart")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
SIZES = ("small", "large")
FILLS = ("solid", "striped", "spotted", "hollow")
BACKGROUNDS = ("white", "black", "gradient", "tablecloth", "wood")
MAX_OBJECTS = 5

# Reading order; index = 3 * row + column.
PLACES = (
    "In the top left corner",
    "At the top centre",
    "In the top right corner",
    "On the left side",
    "In the centre",
    "On the right side",
    "In the bottom left corner",
    "At the bottom centre",
    "In the bottom right corner",
)
# The verb goes with the place, so there is variety and nothing to guess.
VERBS = (
    "there is", "there is", "there is",
    "we see", "sits", "we see",
    "there is", "there is", "there is",
)  # fmt: skip
COUNTS = ("no objects", "a single object", "two objects", "three objects", "four objects", "five objects")
OPENERS = {
    "white": "The image shows",
    "black": "The picture shows",
    "gradient": "The image shows",
    "tablecloth": "The photo shows",
    "wood": "The picture shows",
}
BACKGROUND_TEXT = {
    "white": "plain white",
    "black": "plain black",
    "gradient": "a smooth grey gradient",
    "tablecloth": "a checkered tablecloth",
    "wood": "a wooden table top",
}
SHORT_BACKGROUND = {
    "white": "on a plain white background",
    "black": "on a plain black background",
    "gradient": "before a smooth grey gradient",
    "tablecloth": "on a checkered tablecloth",
    "wood": "on a wooden table top",
}
# True of every scene: there are neither people nor letters in any of them.
NEGATIONS = {
    "white": "There is no text in the image.",
    "black": "There are no people in the scene.",
    "gradient": "There is no text in the image.",
    "tablecloth": "There are no people in the scene.",
    "wood": "There are no people in the scene.",
}
RELATIONS = ("to the left of", "to the right of", "above", "below")
ONLY = "It is the only object in the picture."


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
        """What relations call it; unique within a scene."""
        return f"{self.colour} {self.shape}"

    @property
    def phrase(self) -> str:
        """All that is to be seen of it, in the order captions use."""
        return f"{self.size} {self.fill} {self.colour} {self.shape}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """A scene: `objects` in reading order, colour and shape together unique among them."""

    seed: int
    background: str
    objects: tuple[SceneObject, ...]


def sample_scene(seed: int) -> Scene:
    """Draw a scene: the number of objects and every attribute uniform, all from `seed`."""
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
    """Draw `scene` as an RGB image of `size` x `size` pixels, antialiased; the same bytes each time."""
    rng = random.Random(f"render/{scene.seed}")
    big = 2 * size
    image = draw.background(scene.background, big, rng)
    for item in scene.objects:
        draw.item(image, item.shape, item.colour, item.fill, item.size, item.row, item.column, rng)
    image = image.resize((size, size), Image.Resampling.BOX)
    return draw.add_noise(image, rng)


def article(phrase: str) -> str:
    """`phrase` with its indefinite article."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def relation(a: SceneObject, b: SceneObject) -> str:
    """Where `a` is as seen from `b`: beside it in its row, else above or below it."""
    if a.row == b.row:
        return "to the left of" if a.column < b.column else "to the right of"
    return "above" if a.row < b.row else "below"


def related(scene: Scene) -> list[tuple[SceneObject, SceneObject]]:
    """The pairs a long caption relates: the first to the second and, from three objects on, the last to the first."""
    items = scene.objects
    pairs = [(items[0], items[1])] if len(items) > 1 else []
    return [*pairs, (items[-1], items[0])] if len(items) > 2 else pairs


def describe_long(scene: Scene) -> str:
    """Five to nine sentences: how many, the background, each object, relations or its being alone, a negation."""
    items = scene.objects
    sentences = [
        f"{OPENERS[scene.background]} {COUNTS[len(items)]}.",
        f"The background is {BACKGROUND_TEXT[scene.background]}.",
    ]
    sentences += [f"{PLACES[o.cell]} {VERBS[o.cell]} {article(o.phrase)}." for o in items]
    if len(items) == 1:
        sentences.append(ONLY)
    sentences += [f"The {a.name} is {relation(a, b)} the {b.name}." for a, b in related(scene)]
    if len(items) < MAX_OBJECTS:  # with five objects it would be the tenth sentence
        sentences.append(NEGATIONS[scene.background])
    return " ".join(sentences)


def describe_short(scene: Scene) -> str:
    """One sentence: each object by colour and shape (a single one in full), and the background."""
    items = scene.objects
    names = [article(items[0].phrase)] if len(items) == 1 else [article(o.name) for o in items]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{listed[0].upper()}{listed[1:]} {SHORT_BACKGROUND[scene.background]}."
