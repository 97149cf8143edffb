"""Six rewrites of a scene's caption by rule, each in a style of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

from recaption.demo.scenes import BACKGROUNDS
from training.scene.captions import (
    BACKGROUND_TEXT,
    COUNTS,
    NEGATIONS,
    ONLY,
    OPENERS,
    RELATIONS,
    SHORT_BACKGROUND,
)
from training.scene.check import parse_object, parse_relation, split

Fact = tuple[object, ...]
"""count, background, object, relation, only or negation, and what it is about."""

CORNERS = ("top left corner", "top edge", "top right corner", "left edge", "middle", "right edge",
           "bottom left corner", "bottom edge", "bottom right corner")  # fmt: skip
PARTS = ("upper left", "upper middle", "upper right", "middle left", "very middle", "middle right",
         "lower left", "lower middle", "lower right")  # fmt: skip
LEFT, RIGHT, ABOVE, BELOW = RELATIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """How a rewrite words a statement. `order` has the initials of the kinds of sentences: count, background, object,
    relation, and the rest (the only object, or what is absent)."""

    order: str
    count: str  # {}: the number of objects
    background: str
    place: tuple[str, str]  # before and after the place
    places: tuple[str, ...]
    thing: str  # {size} {fill} {colour} {shape}
    relation: tuple[str, dict[str, str]]  # before the first name, between the names
    only: str
    text: str  # that there is none
    people: str
    listed: str  # an object in a short caption
    joined: str  # between them
    around: str  # {things} and {background} of a short caption
    alone: str = ""  # before the only object of a short caption


STYLES = (
    Style(
        order="cbroa",
        count="This image has {} in it.",
        background="Behind everything one sees {}.",
        place=("The", "holds a"),
        places=CORNERS,
        thing="{shape} that is {size}, {fill} and {colour}",
        relation=(
            "The",
            {
                LEFT: " has on its right the",
                RIGHT: " has on its left the",
                ABOVE: " has below it the",
                BELOW: " has above it the",
            },
        ),
        only="Nothing else is in it.",
        text="No text appears anywhere.",
        people="No people appear anywhere.",
        listed="{shape} in {colour}",
        joined="; a ",
        around="On view: a {things}. Behind, one sees {background}.",
    ),
    Style(
        order="bcoar",
        count="Here we find {} in total.",
        background="The backdrop consists of {}.",
        place=("In the", "part is one"),
        places=PARTS,
        thing="{colour} {shape}, {size} and {fill}",
        relation=(
            "One finds the",
            {
                LEFT: " further left than the",
                RIGHT: " further right than the",
                ABOVE: " higher up than the",
                BELOW: " further down than the",
            },
        ),
        only="Besides it there is nothing.",
        text="The image is free of text.",
        people="The scene is free of people.",
        listed="{colour} {shape}",
        joined=" next to one ",
        around="With {background} as the backdrop, we find one {things}.",
    ),
    Style(
        order="ocbra",
        count="One can count {}.",
        background="All of this has {} as its ground.",
        place=("Towards the", "lies one"),
        places=CORNERS,
        thing="{fill} {shape} in {colour}, {size} in size",
        relation=(
            "Where the",
            {
                LEFT: " is, look right for the",
                RIGHT: " is, look left for the",
                ABOVE: " is, look down for the",
                BELOW: " is, look up for the",
            },
        ),
        only="Other objects are missing.",
        text="Text is missing.",
        people="People are missing.",
        listed="the {shape} is {colour}",
        joined=", ",
        around="{things}. Ground: {background}.",
        alone="one ",
    ),
    Style(
        order="acobr",
        count="You see {} here.",
        background="As for the ground, it is {}.",
        place=("Look at the", "for a"),
        places=PARTS,
        thing="{size} {shape}; it is {colour} and {fill}",
        relation=(
            "From the",
            {
                LEFT: " one goes right to the",
                RIGHT: " one goes left to the",
                ABOVE: " one goes down to the",
                BELOW: " one goes up to the",
            },
        ),
        only="You see no other object.",
        text="You see no text.",
        people="You see no people.",
        listed="{colour} is a {shape}",
        joined="; ",
        around="{things}, and the ground is {background}.",
        alone="a ",
    ),
    Style(
        order="rboca",
        count="That makes {}.",
        background="Around them one recognises {}.",
        place=("Near the", ":"),
        places=CORNERS,
        thing="{shape}, {colour}, {fill}, {size}",
        relation=(
            "Compared to the",
            {
                LEFT: ", more to the right is the",
                RIGHT: ", more to the left is the",
                ABOVE: ", at a lower level is the",
                BELOW: ", at a higher level is the",
            },
        ),
        only="That is all.",
        text="It goes without text.",
        people="It goes without people.",
        listed="{shape} ({colour})",
        joined=" plus ",
        around="Seen before {background}: {things}.",
    ),
    Style(
        order="obacr",
        count="It depicts {}, no more.",
        background="What surrounds it is {}.",
        place=("At the", "stands a"),
        places=PARTS,
        thing="{fill} {colour} {shape} of {size} size",
        relation=(
            "It is the",
            {
                LEFT: " that lies left of the",
                RIGHT: " that lies right of the",
                ABOVE: " that lies higher than the",
                BELOW: " that lies lower than the",
            },
        ),
        only="It stands alone.",
        text="Nowhere is any text.",
        people="Nowhere are any people.",
        listed="{shape} of {colour} colour",
        joined=", ",
        around="It depicts this: {things}; what surrounds it is {background}.",
        alone="a ",
    ),
)


def facts(caption: str) -> list[Fact] | None:
    """The facts of a caption of the captioner, long or short, in order; None if a sentence is none of them."""
    found: list[Fact] = []
    for sentence in split(caption):
        if (fact := _fact(sentence)) is None:
            return None
        found += fact
    return found


def _fact(sentence: str) -> list[Fact] | None:
    if (said := parse_object(sentence)) is not None:
        return [("object", said[0], *said[1])]
    if (related := parse_relation(sentence)) is not None:
        return [("relation", *related[0], related[1], *related[2])]
    if f"{sentence}." == ONLY:
        return [("only",)]
    if f"{sentence}." in NEGATIONS.values():
        return [("negation", "text" if "text" in sentence else "people")]
    for opener in OPENERS.values():
        if sentence.startswith(f"{opener} ") and sentence.removeprefix(f"{opener} ") in COUNTS:
            return [("count", sentence.removeprefix(f"{opener} "))]
    for kind in BACKGROUNDS:
        if sentence == f"The background is {BACKGROUND_TEXT[kind]}":
            return [("background", kind)]
        if sentence.endswith(f" {SHORT_BACKGROUND[kind]}"):
            listed = re.split(r", | and ", sentence.removesuffix(f" {SHORT_BACKGROUND[kind]}"))
            return [*(("listed", *name.split()[1:]) for name in listed), ("background", kind)]
    return None


def _thing(style: Style, words: tuple[str, ...]) -> str:
    size, fill, colour, shape = words
    return style.thing.format(size=size, fill=fill, colour=colour, shape=shape)


def _sentence(style: Style, fact: Fact) -> str:
    kind, *rest = fact
    values = tuple(str(value) for value in rest)
    if kind == "count":
        return style.count.format(values[0])
    if kind == "background":
        return style.background.format(BACKGROUND_TEXT[values[0]])
    if kind == "object":
        before, behind = style.place
        colon = "" if behind == ":" else " "
        return f"{before} {style.places[int(values[0])]}{colon}{behind} {_thing(style, values[1:])}."
    if kind == "relation":
        before, between = style.relation
        return f"{before} {values[0]} {values[1]}{between[values[2]]} {values[3]} {values[4]}."
    if kind == "only":
        return style.only
    return style.text if values[0] == "text" else style.people


INITIALS = {"count": "c", "background": "b", "object": "o", "relation": "r", "only": "a", "negation": "a"}


def _short(style: Style, told: list[Fact]) -> str:
    names = [tuple(map(str, fact[1:])) for fact in told if fact[0] == "listed"]
    background = BACKGROUND_TEXT[str(told[-1][1])]
    if len(names) == 1:
        things = style.alone + _thing(style, names[0])
    else:
        things = style.joined.join(style.listed.format(colour=colour, shape=shape) for colour, shape in names)
    text = style.around.format(things=things, background=background)
    return text[0].upper() + text[1:]


def rewrites(caption: str) -> list[str]:
    """The caption in each of the styles; empty for a text that is no caption of a scene."""
    told = facts(caption)
    if not told:
        return []
    if told[0][0] == "listed":
        return [_short(style, told) for style in STYLES]
    texts = []
    for style in STYLES:
        ordered = [fact for initial in style.order for fact in told if INITIALS[str(fact[0])] == initial]
        texts.append(" ".join(_sentence(style, fact) for fact in ordered))
    return texts
