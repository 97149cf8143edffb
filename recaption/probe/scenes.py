"""Scenes with their true captions, noisy copies of these, and queries: they check the probe itself."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Final, TypeVar

from recaption.demo.scenes import (
    BACKGROUNDS,
    COLOURS,
    FILLS,
    MAX_OBJECTS,
    SHAPES,
    SIZES,
    Scene,
    SceneObject,
    sample_scene,
)
from recaption.demo.shards import alt_text
from recaption.probe.arms import reworded
from recaption.probe.queries import Query
from recaption.types import Caption, Record, SubCaption

T = TypeVar("T")

SIDE: Final = 144  # pixels, what the embedded encoder sees
FIRST_SEED: Final = 720_000_000  # apart from the scenes that models were trained and evaluated on
_PLACES: Final = tuple(
    f"{row} {column}" for row in ("top", "middle", "bottom") for column in ("left", "centre", "right")
)
_NUMBERS: Final = ("no objects", "one object", "two objects", "three objects", "four objects", "five objects")
_BACKGROUNDS: Final = dict(
    zip(
        BACKGROUNDS,
        ("plain white", "plain black", "a grey gradient", "a checkered tablecloth", "a wooden table"),
        strict=True,
    )
)
_OF_OBJECTS: Final = ("size", "fill", "colour", "shape", "place")
STATEMENTS: Final = 3  # per held-out scene
CHANGES: Final = (*_OF_OBJECTS, "number", "background")
_EXCHANGED: Final = {"left": "right", "right": "left", "purple": "blue", "blue": "purple"}


def object_sentence(item: SceneObject) -> str:
    return f"At the {_PLACES[item.cell]} there is a {item.size} {item.fill} {item.colour} {item.shape}."


def number_sentence(number: int) -> str:
    return f"The picture has {_NUMBERS[number]}."


def background_sentence(background: str) -> str:
    return f"The background is {_BACKGROUNDS[background]}."


def relation_sentence(a: SceneObject, b: SceneObject) -> str:
    """True if `a` comes before `b` in reading order."""
    return f"The {a.name} is {'to the left of' if a.row == b.row else 'above'} the {b.name}."


def short_caption(scene: Scene) -> str:
    return f"{', '.join(f'a {item.name}' for item in scene.objects)} on {_BACKGROUNDS[scene.background]}."


def sentences(scene: Scene) -> list[str]:
    """All statements of a long caption: number of objects, background, each object, each neighbouring pair."""
    return [true for true, _ in pairs(scene, random.Random(0))]


def pairs(scene: Scene, rng: random.Random) -> list[tuple[str, str]]:
    """Each sentence of a long caption, and the same sentence with one thing changed, so that it is false."""
    return [
        statement(scene, "number", rng),
        statement(scene, "background", rng),
        *(_of_object(item, rng.choice(_OF_OBJECTS), rng) for item in scene.objects),
        *((relation_sentence(a, b), relation_sentence(b, a)) for a, b in pairwise(scene.objects)),
    ]


def record(scene: Scene, number: int, corrupted: float = 0.0) -> Record:
    """A record as a build has it: a noisy alt text, a short and a long caption.

    corrupted: the share of sentences and of short captions with one thing changed, so that they are false; always the
    same ones.
    """
    rng = random.Random(f"corrupted/{scene.seed}")
    short = short_caption(scene), short_caption(_with_other_colour(scene, rng))
    chosen = [wrong if rng.random() < corrupted else true for true, wrong in (short, *pairs(scene, rng))]
    key = f"{number:09d}"
    texts = {"raw": [alt_text(scene)], "short": chosen[:1], "long": chosen[1:]}
    captions = tuple([_caption(key, name, of) for name, of in texts.items()])
    return Record(
        key=key, source_key=key, shard="0", row=number, sha256=f"{scene.seed:064d}", status="ok", captions=captions
    )


def _with_other_colour(scene: Scene, rng: random.Random) -> Scene:
    item = rng.choice(scene.objects)
    wrong = replace(item, colour=_other(rng, COLOURS, item.colour))
    return replace(scene, objects=tuple(wrong if one is item else one for one in scene.objects))


def _caption(key: str, name: str, texts: list[str]) -> Caption:
    subs, start = [], 0
    for idx, text in enumerate(texts if name == "long" else ()):
        subs.append(
            SubCaption(
                sub_id=f"{key}/{name}/0#{idx}",
                idx=idx,
                text=text,
                char_start=start,
                char_end=start + len(text),
                n_words=len(text.split()),
                content_start=start,
            )
        )
        start += len(text) + 1
    return Caption(
        caption_id=f"{key}/{name}/0",
        generation=name,
        source="raw" if name == "raw" else "truth",
        granularity=name,  # type: ignore[arg-type]
        text=" ".join(texts),
        sub_captions=tuple(subs),
    )


def exchanged(given: Record, position: int) -> Record:
    """The record of a captioner that exchanges left and right, and purple and blue."""

    return replace(given, captions=tuple([reworded(caption, exchanged_words) for caption in given.captions]))


def exchanged_words(text: str) -> str:
    return re.sub(r"\b(left|right|purple|blue)\b", lambda word: _EXCHANGED[word[0]], text)


def statement(scene: Scene, kind: str, rng: random.Random) -> tuple[str, str]:
    """A true sentence about the scene, and the same sentence with one thing changed (one of CHANGES), so that it is
    false."""
    if kind == "number":
        number = len(scene.objects)
        return number_sentence(number), number_sentence(_other(rng, range(1, MAX_OBJECTS + 1), number))
    if kind == "background":
        return background_sentence(scene.background), background_sentence(_other(rng, BACKGROUNDS, scene.background))
    return _of_object(rng.choice(scene.objects), kind, rng)


def _of_object(item: SceneObject, kind: str, rng: random.Random) -> tuple[str, str]:
    if kind == "place":
        wrong = replace(item, cell=_other(rng, range(9), item.cell))
    else:
        values = {"size": SIZES, "fill": FILLS, "colour": COLOURS, "shape": SHAPES}[kind]
        wrong = replace(item, **{kind: _other(rng, values, getattr(item, kind))})
    return object_sentence(item), object_sentence(wrong)


def _other(rng: random.Random, values: Iterable[T], value: T) -> T:
    return rng.choice([one for one in values if one != value])


@dataclass(frozen=True)
class Scenes:
    """Training scenes, and held-out scenes with three statements and a short caption each as queries."""

    images: int = 2_048
    held_out: int = 1_000

    @cached_property
    def train(self) -> list[Scene]:
        return [sample_scene(FIRST_SEED + n) for n in range(self.images)]

    @cached_property
    def test(self) -> list[Scene]:
        return [sample_scene(FIRST_SEED + 10_000_000 + n) for n in range(self.held_out)]

    def queries(self) -> list[Query]:
        """The queries of each held-out scene; images are named by their position."""
        made = []
        for n, scene in enumerate(self.test):
            rng = random.Random(f"query/{scene.seed}")
            for at in range(STATEMENTS * n, STATEMENTS * (n + 1)):
                text, wrong = statement(scene, CHANGES[at % len(CHANGES)], rng)
                made.append(Query(image=str(n), text=text, wrong=wrong, slice="statement"))
            made.append(Query(image=str(n), text=short_caption(scene), slice="short caption"))
        return made
