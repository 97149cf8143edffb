"""The ten and more false versions of a sentence of a scene's caption, by rule: each changes one thing.

The order is fixed, so that the first n are the answer to "write n", and a greedy model can learn them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from recaption.demo.scenes import COLOURS, FILLS, SHAPES, SIZES
from training.scene.captions import PLACES, RELATIONS, SHORT_BACKGROUND, VERBS, article
from training.scene.check import parse_object, parse_relation

Negative = tuple[str, str]
"""The false sentence and the category of the change, one of `recaption.tasks.changes.CATEGORIES`."""

OPPOSITES = dict(zip(RELATIONS, ("to the right of", "to the left of", "below", "above"), strict=True))
# Words that no scene has: a listed name never becomes that of another object.
STRANGE = {"attribute": ("grey", "turquoise", "beige", "golden", "silver", "olive"),
           "object": ("hexagon", "cross", "cylinder", "crescent", "pentagon", "arrow")}  # fmt: skip
NOUN_BACKGROUNDS = {
    "a checkered tablecloth": {
        "attribute": ("striped", "spotted", "floral", "plain", "torn", "embroidered"),
        "object": ("carpet", "blanket", "curtain", "towel", "wall", "meadow"),
    },
    "a wooden table top": {
        "attribute": ("metal", "glass", "plastic", "marble", "concrete", "leather"),
        "object": ("door", "fence", "bridge", "boat", "ladder", "gate"),
    },
}


def after(values: Sequence[str], value: str, steps: int) -> str:
    """The value `steps` places after `value`; the first one follows the last."""
    return values[(values.index(value) + steps) % len(values)]


def negatives(sentence: str) -> list[Negative]:
    """Twelve false versions of a sentence with an object; none for other sentences."""
    if (said := parse_object(sentence)) is not None:
        return _of_object(sentence, *said)
    if (related := parse_relation(sentence)) is not None:
        return _of_relation(*related)
    for text, others in NOUN_BACKGROUNDS.items():
        if sentence == f"The background is {text}.":
            return _of_background(text, others)
    return _of_list(sentence)


def _of_object(sentence: str, cell: int, words: list[str]) -> list[Negative]:
    middle = next(verb for verb in VERBS if f" {verb} a" in sentence)

    def at(where: int) -> Negative:
        return f"{PLACES[where % 9]} {middle} {article(' '.join(words))}.", "place"

    def with_word(k: int, values: Sequence[str], steps: int, category: str) -> Negative:
        new = [*words]
        new[k] = after(values, words[k], steps)
        return f"{PLACES[cell]} {middle} {article(' '.join(new))}.", category

    made = [with_word(0, SIZES, 1, "attribute")]
    for steps in (1, 2, 3):
        made.append(with_word(2, COLOURS, steps, "attribute"))
        made.append(with_word(3, SHAPES, steps, "object"))
        made.append(at(cell + steps))
        if steps < 3:
            made.append(with_word(1, FILLS, steps, "attribute"))
    return made


def _of_relation(first: list[str], word: str, second: list[str]) -> list[Negative]:
    def told(a: list[str], where: str, b: list[str]) -> str:
        return f"The {' '.join(a)} is {where} the {' '.join(b)}."

    opposite = "place" if word in RELATIONS[:2] else "relation"  # left and right are places to the task
    made = [(told(first, OPPOSITES[word], second), opposite), (told(second, word, first), "swap")]
    for steps in (1, 2, 3):
        made.append((told([after(COLOURS, first[0], steps), first[1]], word, second), "attribute"))
        made.append((told(first, word, [after(COLOURS, second[0], steps), second[1]]), "attribute"))
        if steps < 3:
            made.append((told([first[0], after(SHAPES, first[1], steps)], word, second), "object"))
            made.append((told(first, word, [second[0], after(SHAPES, second[1], steps)]), "object"))
    return made


def _of_background(text: str, others: Mapping[str, Sequence[str]]) -> list[Negative]:
    _, kind, noun = text.split(maxsplit=2)
    made = []
    for attribute, other in zip(others["attribute"], others["object"], strict=True):
        made.append((f"The background is {article(f'{attribute} {noun}')}.", "attribute"))
        made.append((f"The background is {article(f'{kind} {other}')}.", "object"))
    return made


def _of_list(sentence: str) -> list[Negative]:
    """Of a short caption: colours and shapes of the listed objects in turn."""
    ending = next((f" {text}." for text in SHORT_BACKGROUND.values() if sentence.endswith(f" {text}.")), None)
    if ending is None:
        return []
    listed = re.split(r", | and ", sentence.removesuffix(ending))
    names = [name.split()[1:] for name in listed]
    made = []
    for k in range(12):
        (at, turn), category = (k % len(names), k // len(names)), ("attribute", "object")[k // len(names) % 2]
        new = [[*name] for name in names]
        new[at][-2 + turn % 2] = STRANGE[category][turn // 2]
        made.append((short(new) + ending, category))
    return made


def short(names: Sequence[Sequence[str]]) -> str:
    """The list of a short caption: A red star, a blue heart and a green circle."""
    told = [article(" ".join(name)) for name in names]
    text = told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"
    return text[0].upper() + text[1:]
