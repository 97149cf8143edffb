"""Finds the claims of a caption about a scene, and checks each. Demos use this instead of a model that judges."""

from __future__ import annotations

import re
from typing import Final

from recaption.demo.scenes import COLOURS, FILLS, SHAPES, SIZES, Scene, SceneObject

_OBJECT: Final = re.compile(
    rf"(?:({'|'.join(SIZES)}) )?(?:({'|'.join(FILLS)}) )?({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})\b"
)
_RELATION: Final = re.compile(r"\bto the (left|right) of\b|\b(above|below)\b")
_PLACE: Final = re.compile(r"\b(?:(top|middle|bottom) )?(left|centre|right)\b")
_NUMBER: Final = re.compile(r"\b(no|one|a single|two|three|four|five) objects?\b")
_NUMBERS: Final = {"no": 0, "one": 1, "a single": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_BACKGROUNDS: Final = {
    "plain white": "white",
    "plain black": "black",
    "gradient": "gradient",
    "tablecloth": "tablecloth",
    "wooden": "wood",
}
_ROWS: Final = ("top", "middle", "bottom")
_COLUMNS: Final = ("left", "centre", "right")


def claims(caption: str, scene: Scene) -> dict[str, bool]:
    """Each different claim of a caption, and whether it is true of the scene.

    Claims are the number of objects, the background, an object (colour and shape), its size, its fill, its place, and
    the relation of two objects. Other statements are ignored.
    """
    found: dict[str, bool] = {}
    objects = {item.name: item for item in scene.objects}
    for sentence in re.split(r"(?<=\.)\s+", caption.lower()):
        for number in _NUMBER.finditer(sentence):
            found[f"{_NUMBERS[number[1]]} objects"] = _NUMBERS[number[1]] == len(scene.objects)
        for words, background in _BACKGROUNDS.items():
            if words in sentence:
                found[f"background {background}"] = background == scene.background
        named = list(_OBJECT.finditer(sentence))
        for one in named:
            name, item = f"{one[3]} {one[4]}", objects.get(f"{one[3]} {one[4]}")
            found[name] = item is not None
            for given, kind in ((one[1], "size"), (one[2], "fill")):
                if given:
                    found[f"{given} {name}"] = item is not None and given == getattr(item, kind)
        items = [objects.get(f"{one[3]} {one[4]}") for one in named]
        if len(named) == 2 and (relation := _RELATION.search(sentence, named[0].end(), named[1].start())):
            found[sentence] = _related(items[0], relation[1] or relation[2], items[1])
        elif len(named) == 1 and (place := _PLACE.search(sentence)):
            cell = 3 * _ROWS.index(place[1] or "middle") + _COLUMNS.index(place[2])
            found[f"{named[0][3]} {named[0][4]} in cell {cell}"] = items[0] is not None and items[0].cell == cell
    return found


def _related(a: SceneObject | None, relation: str, b: SceneObject | None) -> bool:
    if a is None or b is None:
        return False
    if relation in ("left", "right"):
        return a.row == b.row and (a.column < b.column) == (relation == "left")
    return a.row != b.row and (a.row < b.row) == (relation == "above")
