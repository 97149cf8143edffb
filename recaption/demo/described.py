"""Scenes in words, from their ground truth, and their ontology: for demos of what no embedded model answers."""

from __future__ import annotations

from typing import Final

from recaption.demo.scenes import COLOURS, SHAPES, Scene, SceneObject

_NUMBERS = ("no", "one", "two", "three", "four", "five")
_ROWS = ("top", "middle", "bottom")
_COLUMNS = ("left", "centre", "right")
_VALUES = {**dict.fromkeys(SHAPES, "shape"), **dict.fromkeys(COLOURS, "colour")}
ONTOLOGY: Final = "\n".join(
    (
        "# Aspects of captions of scenes, for task aspects.",
        "aspects:",
        "  visual: {description: what the objects look like}",
        "  ontology:",
        "    description: the colours and shapes of the objects",
        "    values:",
        "      shape: []",
        "      colour: []",
        *(f"      {value}: [{above}]" for value, above in _VALUES.items()),
        "",
    )
)


def description(scene: Scene) -> str:
    """A short sentence about the first object, and one about all of them."""
    first, *others = scene.objects
    parts = [f"A {first.size} {first.fill} {first.name} is at the {place(first)}."]
    if others:
        number = _NUMBERS[len(others)]
        names = ", ".join(f"a {other.size} {other.fill} {other.name} at the {place(other)}" for other in others)
        parts.append(f"Beside it, the picture has {number} more: {names}.")
    return " ".join(parts)


def place(item: SceneObject) -> str:
    """Where an object is: top left."""
    return f"{_ROWS[item.row]} {_COLUMNS[item.column]}"
