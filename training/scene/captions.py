"""The captions of scenes. They depend on visible properties only, so that a greedy model can learn them exactly."""

from __future__ import annotations

from recaption.demo.scenes import MAX_OBJECTS, Scene, SceneObject

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
# The verb depends on the place, so verbs vary and are predictable.
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
# True for every scene: none has people or text.
NEGATIONS = {
    "white": "There is no text in the image.",
    "black": "There are no people in the scene.",
    "gradient": "There is no text in the image.",
    "tablecloth": "There are no people in the scene.",
    "wood": "There are no people in the scene.",
}
RELATIONS = ("to the left of", "to the right of", "above", "below")
ONLY = "It is the only object in the picture."


def article(phrase: str) -> str:
    """`phrase` with its indefinite article."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def phrase(item: SceneObject) -> str:
    """All visible attributes, in the order of captions."""
    return f"{item.size} {item.fill} {item.colour} {item.shape}"


def relation(a: SceneObject, b: SceneObject) -> str:
    """The position of `a` relative to `b`: left or right in the same row, else above or below."""
    if a.row == b.row:
        return "to the left of" if a.column < b.column else "to the right of"
    return "above" if a.row < b.row else "below"


def related(scene: Scene) -> list[tuple[SceneObject, SceneObject]]:
    """The pairs that a long caption relates: first and second and, with three or more objects, last and first."""
    items = scene.objects
    pairs = [(items[0], items[1])] if len(items) > 1 else []
    return [*pairs, (items[-1], items[0])] if len(items) > 2 else pairs


def describe_long(scene: Scene) -> str:
    """Five to nine sentences: number of objects, background, each object, relations or the only object, a negation."""
    items = scene.objects
    sentences = [
        f"{OPENERS[scene.background]} {COUNTS[len(items)]}.",
        f"The background is {BACKGROUND_TEXT[scene.background]}.",
    ]
    sentences += [f"{PLACES[o.cell]} {VERBS[o.cell]} {article(phrase(o))}." for o in items]
    if len(items) == 1:
        sentences.append(ONLY)
    sentences += [f"The {a.name} is {relation(a, b)} the {b.name}." for a, b in related(scene)]
    if len(items) < MAX_OBJECTS:  # with five objects it would be the tenth sentence
        sentences.append(NEGATIONS[scene.background])
    return " ".join(sentences)


def describe_short(scene: Scene) -> str:
    """One sentence: each object by colour and shape (a single one in full), and the background."""
    items = scene.objects
    names = [article(phrase(items[0]))] if len(items) == 1 else [article(o.name) for o in items]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return f"{listed[0].upper()}{listed[1:]} {SHORT_BACKGROUND[scene.background]}."
