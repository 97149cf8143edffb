"""Questions about where things are in a scene, with the true answers."""

from __future__ import annotations

import random
from collections.abc import Mapping

from recaption.demo.scenes import COLOURS, FILLS, SHAPES, SIZES, Scene
from training.locate.build import BACKGROUNDS
from training.scene.captions import phrase, related

WHOLE = 9  # instead of a cell: the whole image
ABSENT = 0.15  # share of the phrases in free lists that mean nothing in the image
# The kinds of lists, with the weight of each in training.
KINDS = {"caption": 0.3, "names": 0.1, "shapes": 0.1, "free": 0.2, "one": 0.3}
ABSENT_ALONE = 0.35  # share of the single phrases that mean nothing in the image


def asked(scene: Scene, kind: str, rng: random.Random) -> Mapping[str, tuple[int, ...]]:
    """Phrases with the cells that each means, in reading order.

    caption and names: the noun phrases of the long and of the short caption, in their order; shapes: the shapes alone;
    free: some phrases of all forms in any order, absent things among them; one: a single phrase, often an absent thing.
    """
    items = scene.objects
    if kind == "caption":
        phrases = [phrase(o) for o in items] + [o.name for pair in related(scene) for o in pair]
        phrases = [*_background(scene), *phrases]
    elif kind == "names":
        phrases = [phrase(items[0])] if len(items) == 1 else [o.name for o in items]
        phrases += _background(scene)
    elif kind == "shapes":
        phrases = [*(text.split(maxsplit=1)[1] for text in _background(scene)), *(o.shape for o in items)]
    elif kind == "one":
        o = rng.choice(items)
        phrases = [rng.choice((phrase(o), phrase(o), o.name, o.shape, *_background(scene)))]
        if rng.random() < ABSENT_ALONE:
            phrases = [absent(scene, rng)]
    else:
        phrases = [rng.choice((phrase(o), o.name, o.shape)) for o in items]
        phrases = rng.sample(phrases, rng.randint(1, len(phrases)))
        phrases = [absent(scene, rng) if rng.random() < ABSENT else text for text in phrases]
    return {text: cells(scene, text) for text in dict.fromkeys(phrases)}


def cells(scene: Scene, text: str) -> tuple[int, ...]:
    """The cells of the objects that have all words of `text`; (`WHOLE`,) for the background."""
    words = {*text.split()}
    if words <= {*BACKGROUNDS.get(scene.background, "").split()}:
        return (WHOLE,)
    return tuple(o.cell for o in scene.objects if words <= {*phrase(o).split()})


def _background(scene: Scene) -> list[str]:
    return [BACKGROUNDS[scene.background]] if scene.background in BACKGROUNDS else []


def absent(scene: Scene, rng: random.Random) -> str:
    """A phrase that means nothing in the image."""
    while True:
        words = [rng.choice(COLOURS), rng.choice(SHAPES)]
        if rng.random() < 0.5:
            words = [rng.choice(SIZES), rng.choice(FILLS), *words]
        if not cells(scene, " ".join(words)):
            return " ".join(words)
