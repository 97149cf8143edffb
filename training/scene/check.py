"""Parses a caption of a scene into statements, and checks each of them against the scene."""

from __future__ import annotations

import re
from dataclasses import dataclass

from recaption.demo.scenes import COLOURS, FILLS, SHAPES, SIZES, Scene
from training.scene.captions import (
    BACKGROUND_TEXT,
    COUNTS,
    NEGATIONS,
    ONLY,
    OPENERS,
    PLACES,
    RELATIONS,
    SHORT_BACKGROUND,
    VERBS,
    article,
    phrase,
    relation,
)

ATTRIBUTES = ("place", "size", "fill", "colour", "shape")


def _any(words: tuple[str, ...]) -> str:
    return "|".join(re.escape(w) for w in sorted(words, key=len, reverse=True))


_NAME = f"({_any(COLOURS)}) ({_any(SHAPES)})"
_COUNT = re.compile(f"(?:{_any(tuple(OPENERS.values()))}) ({_any(COUNTS)})")
_BACKGROUND = re.compile(f"The background is ({_any(tuple(BACKGROUND_TEXT.values()))})")
_OBJECT = re.compile(f"({_any(PLACES)}) (?:{_any(VERBS)}) an? ({_any(SIZES)}) ({_any(FILLS)}) {_NAME}")
_RELATION = re.compile(f"The {_NAME} is ({_any(RELATIONS)}) the {_NAME}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """One sentence of a caption. `wrong` lists its errors; for an object sentence, the wrong attributes."""

    kind: str  # count | background | object | relation | only | negation | unknown
    text: str
    wrong: tuple[str, ...] = ()
    cell: int | None = None  # of an object sentence

    @property
    def right(self) -> bool:
        return not self.wrong


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The statements of a caption, and the cells of the objects that it omits."""

    statements: tuple[Statement, ...]
    missed: tuple[int, ...]

    @property
    def right(self) -> bool:
        """Whether no statement is wrong and no object is omitted."""
        return not self.missed and all(s.right for s in self.statements)


def split(caption: str) -> list[str]:
    """The caption's sentences without their full stops; scene captions have no other full stops."""
    return [s.strip() for s in caption.split(".") if s.strip()]


def check_sentence(sentence: str, scene: Scene) -> Statement:
    """The statement of one sentence (without its full stop), checked against `scene`."""
    if found := _COUNT.fullmatch(sentence):
        wrong = () if COUNTS.index(found[1]) == len(scene.objects) else ("count",)
        return Statement(kind="count", text=sentence, wrong=wrong)
    if found := _BACKGROUND.fullmatch(sentence):
        wrong = () if found[1] == BACKGROUND_TEXT[scene.background] else ("background",)
        return Statement(kind="background", text=sentence, wrong=wrong)
    if found := _OBJECT.fullmatch(sentence):
        return _check_object(sentence, found, scene)
    if found := _RELATION.fullmatch(sentence):
        by_name = {o.name: o for o in scene.objects}
        a, b = by_name.get(f"{found[1]} {found[2]}"), by_name.get(f"{found[4]} {found[5]}")
        holds = a is not None and b is not None and a != b and relation(a, b) == found[3]
        return Statement(kind="relation", text=sentence, wrong=() if holds else ("relation",))
    if f"{sentence}." == ONLY:
        return Statement(kind="only", text=sentence, wrong=() if len(scene.objects) == 1 else ("count",))
    if f"{sentence}." in NEGATIONS.values():
        return Statement(kind="negation", text=sentence)
    return Statement(kind="unknown", text=sentence, wrong=("unknown",))


def _check_object(sentence: str, found: re.Match[str], scene: Scene) -> Statement:
    cell = PLACES.index(found[1])
    present = next((o for o in scene.objects if o.cell == cell), None)
    if present is None:
        return Statement(kind="object", text=sentence, wrong=("place",), cell=cell)
    attributes = (present.size, present.fill, present.colour, present.shape)
    pairs = zip(ATTRIBUTES[1:], found.groups()[1:], attributes, strict=True)
    return Statement(kind="object", text=sentence, wrong=tuple(n for n, a, b in pairs if a != b), cell=cell)


def parse_object(sentence: str) -> tuple[int, list[str]] | None:
    """The cell of an object sentence, and its size, fill, colour and shape; None for another sentence."""
    found = _OBJECT.fullmatch(sentence.removesuffix("."))
    return (PLACES.index(found[1]), list(found.groups()[1:])) if found else None


def parse_relation(sentence: str) -> tuple[list[str], str, list[str]] | None:
    """Colour and shape of the first object, the relation, colour and shape of the second; None for another sentence."""
    found = _RELATION.fullmatch(sentence.removesuffix("."))
    return ([found[1], found[2]], found[3], [found[4], found[5]]) if found else None


def check_long(caption: str, scene: Scene) -> Verdict:
    """Check a long caption. The second statement about the same object is wrong."""
    statements: list[Statement] = []
    seen: set[int] = set()
    for sentence in split(caption):
        statement = check_sentence(sentence, scene)
        if statement.cell is not None and statement.cell in seen:
            statement = Statement(kind="object", text=sentence, wrong=("place",), cell=statement.cell)
        if statement.cell is not None:
            seen.add(statement.cell)
        statements.append(statement)
    missed = tuple(o.cell for o in scene.objects if o.cell not in seen)
    return Verdict(statements=tuple(statements), missed=missed)


def check_short(caption: str, scene: Scene) -> bool:
    """Whether a short caption is one sentence with exactly the objects and the background of the scene."""
    ending = f" {SHORT_BACKGROUND[scene.background]}."
    if not caption.endswith(ending) or len(split(caption)) != 1:
        return False
    listed = caption.removesuffix(ending)
    if len(scene.objects) == 1:
        return listed.lower() == article(phrase(scene.objects[0]))
    names = re.split(r", | and ", listed[0].lower() + listed[1:])
    return sorted(names) == sorted(article(o.name) for o in scene.objects)
