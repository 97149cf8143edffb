"""Statements about scenes, true and false: the sentences that long captions use, and one change in each."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

from recaption.demo.scenes import COLOURS, FILLS, MAX_OBJECTS, SHAPES, SIZES, Scene, SceneObject
from training.scene.captions import (
    BACKGROUND_TEXT,
    COUNTS,
    NEGATIONS,
    ONLY,
    OPENERS,
    PLACES,
    RELATIONS,
    VERBS,
    article,
    phrase,
    relation,
)
from training.scene.check import check_sentence, parse_object, parse_relation

# The changes by the kind of sentence that they apply to, with the weight of each in training.
CHANGES: dict[str, dict[str, float]] = {
    "object": {"size": 1.0, "fill": 1.2, "colour": 1.0, "shape": 1.8, "place_empty": 1.2, "place_taken": 1.6},
    "count": {"number": 1.0},
    "background": {"background": 1.0},
    "relation": {"relation_word": 4.0, "relation_swap": 3.5, "relation_colour": 1.0, "relation_shape": 1.5},
}
# How often training takes a sentence of each kind.
KINDS = {"object": 0.42, "relation": 0.40, "count": 0.07, "background": 0.05, "only": 0.03, "negation": 0.03}


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A sentence with its full stop, and the change that made it false (None: it is true)."""

    text: str
    kind: str
    change: str | None = None


def object_sentence(item: SceneObject, cell: int | None = None) -> str:
    """The sentence about `item`, at `cell` instead of its own place if given."""
    cell = item.cell if cell is None else cell
    return f"{PLACES[cell]} {VERBS[cell]} {article(phrase(item))}."


def true_sentences(scene: Scene) -> dict[str, list[str]]:
    """All true sentences about `scene` by kind; the relations of all pairs, in both orders."""
    items = scene.objects
    return {
        "object": [object_sentence(o) for o in items],
        "relation": [f"The {a.name} is {relation(a, b)} the {b.name}." for a, b in permutations(items, 2)],
        "count": [f"{OPENERS[scene.background]} {COUNTS[len(items)]}."],
        "background": [f"The background is {BACKGROUND_TEXT[scene.background]}."],
        "only": [ONLY] if len(items) == 1 else [],
        "negation": sorted(set(NEGATIONS.values())),
    }


def _other(rng: random.Random, values: Sequence[str], value: str) -> str:
    return rng.choice([v for v in values if v != value])


def _seen_so(a: SceneObject, b: SceneObject, word: str) -> bool:
    """Whether `a` is on that side of `b` by row or column, also where captions would use another word."""
    return {
        "to the left of": a.column < b.column,
        "to the right of": a.column > b.column,
        "above": a.row < b.row,
        "below": a.row > b.row,
    }[word]


def _changed_object(sentence: str, scene: Scene, change: str, rng: random.Random) -> str | None:
    said = parse_object(sentence)
    if said is None:
        return None
    cell, words = said
    if change.startswith("place"):
        taken = {o.cell for o in scene.objects}
        cells = [c for c in range(9) if c != cell and (c in taken) == (change == "place_taken")]
        if not cells:
            return None
        cell = rng.choice(cells)
    else:
        at = ("size", "fill", "colour", "shape").index(change)
        words[at] = _other(rng, (SIZES, FILLS, COLOURS, SHAPES)[at], words[at])
    return f"{PLACES[cell]} {VERBS[cell]} {article(' '.join(words))}."


def _changed_relation(sentence: str, scene: Scene, change: str, rng: random.Random) -> str | None:
    said = parse_relation(sentence)
    if said is None:
        return None
    first, word, second = said
    if change == "relation_swap":
        first, second = second, first
    elif change == "relation_word":
        word = _other(rng, RELATIONS, word)
    else:
        name = rng.choice((first, second))
        at = ("relation_colour", "relation_shape").index(change)
        name[at] = _other(rng, (COLOURS, SHAPES)[at], name[at])
    by_name = {o.name: o for o in scene.objects}
    a, b = by_name.get(" ".join(first)), by_name.get(" ".join(second))
    if a is not None and a is b:
        return None
    if a is not None and b is not None and _seen_so(a, b, word):
        return None  # a person may call it true
    return f"The {' '.join(first)} is {word} the {' '.join(second)}."


def _changed_count(sentence: str, scene: Scene, change: str, rng: random.Random) -> str | None:
    said = next((c for c in COUNTS if sentence.endswith(f" {c}.")), None)
    if said is None:
        return None
    return sentence.removesuffix(f"{said}.") + _other(rng, COUNTS[1 : MAX_OBJECTS + 1], said) + "."


def _changed_background(sentence: str, scene: Scene, change: str, rng: random.Random) -> str | None:
    said = sentence.removeprefix("The background is ").removesuffix(".")
    if said not in BACKGROUND_TEXT.values():
        return None
    return f"The background is {_other(rng, tuple(BACKGROUND_TEXT.values()), said)}."


_CHANGERS: dict[str, Callable[[str, Scene, str, random.Random], str | None]] = {
    "object": _changed_object,
    "relation": _changed_relation,
    "count": _changed_count,
    "background": _changed_background,
}


def changed(sentence: str, kind: str, scene: Scene, rng: random.Random) -> Claim | None:
    """`sentence` of `kind` with one change that makes it false of `scene`; None if no change applies.

    A relation is never changed to one that the places of its objects also allow ("to the left of" of two objects in
    different rows).
    """
    weights = CHANGES.get(kind, {})
    for _ in range(10 if weights else 0):
        (change,) = rng.choices(list(weights), list(weights.values()))
        text = _CHANGERS[kind](sentence, scene, change, rng)
        if text is not None and not check_sentence(text.removesuffix("."), scene).right:
            return Claim(text=text, kind=kind, change=change)
    return None


def sample_claim(scene: Scene, sentences: dict[str, list[str]], rng: random.Random) -> Claim:
    """A statement about `scene`, true or false with the same probability for most kinds.

    `sentences` are the `true_sentences` of `scene`. Negations are always true, as in captions.
    """
    (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
    if kind == "only" and not sentences["only"]:
        return Claim(text=ONLY, kind="only", change="number")
    if not sentences[kind]:  # a relation of a single object
        kind = "object"
    sentence = rng.choice(sentences[kind])
    claim = changed(sentence, kind, scene, rng) if rng.random() < 0.5 else None
    return claim or Claim(text=sentence, kind=kind)
