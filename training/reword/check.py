"""Parses negatives and rewrites of scenes' captions, by rules or by a model, and compares them with the truth."""

from __future__ import annotations

import re
from collections.abc import Mapping

from recaption.demo.scenes import COLOURS, FILLS, SHAPES, SIZES, Scene
from training.reword.rewrites import STYLES, Fact, Style
from training.scene.captions import BACKGROUND_TEXT, COUNTS, PLACES, RELATIONS, SHORT_BACKGROUND, VERBS

_CATEGORIES = {"size": "attribute", "fill": "attribute", "colour": "attribute", "kind": "attribute",
               "shape": "object", "noun": "object", "place": "place", "relation": "relation"}  # fmt: skip


def _any(words: tuple[str, ...]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


_OBJECT = re.compile(
    rf"(?P<place>{_any(PLACES)}) (?:{_any(VERBS)}) an? (?P<size>\w+) (?P<fill>\w+) (?P<colour>\w+) (?P<shape>\w+)\."
)
_RELATION = re.compile(
    rf"The (?P<colour>\w+) (?P<shape>\w+) is (?P<relation>{_any(RELATIONS)}) the (?P<colour_2>\w+) (?P<shape_2>\w+)\."
)
_BACKGROUND = re.compile(r"The background is an? (?P<kind>\w+) (?P<noun>[\w ]+)\.")
_LISTED = re.compile(r"an? (?:(?P<size>\w+) (?P<fill>\w+) )?(?P<colour>\w+) (?P<shape>\w+)", re.IGNORECASE)


def parts(sentence: str) -> dict[str, str] | None:
    """The parts of a sentence that may be changed, with any words in them; None for a sentence of another form."""
    for form in (_OBJECT, _RELATION, _BACKGROUND):
        if found := form.fullmatch(sentence):
            return found.groupdict()
    ending = next((text for text in SHORT_BACKGROUND.values() if sentence.endswith(f" {text}.")), None)
    if ending is None:
        return None
    listed = [_LISTED.fullmatch(name) for name in re.split(r", | and ", sentence.removesuffix(f" {ending}."))]
    made = {"ending": ending}
    for n, found in enumerate(listed):
        if found is None:
            return None
        made |= {f"{name}_{n}": value for name, value in found.groupdict("").items()}
    return made


def category(sentence: str, other: str) -> str | None:
    """The category of the only change between two sentences; None if it is not one, or cannot be read."""
    old, new = parts(sentence), parts(other)
    if old is None or new is None or old.keys() != new.keys():
        return None
    changed = [name for name in old if old[name] != new[name]]
    if changed == ["relation"] and {old["relation"], new["relation"]} == {*RELATIONS[:2]}:
        return "place"  # the task's class of these words
    if len(changed) == 1:
        return _CATEGORIES.get(changed[0].partition("_")[0])
    names = ("colour", "shape", "colour_2", "shape_2")
    if "relation" in old and "relation" not in changed:
        swapped = [old[name] for name in (*names[2:], *names[:2])]
        return "swap" if [new[name] for name in names] == swapped else None
    return None


def is_false(sentence: str, scene: Scene) -> bool:
    """Whether a sentence of a form that `parts` reads is false of `scene`.

    A relation is false if neither row nor column of the objects allow it. A list is false if one of its things is not
    in the scene.
    """
    told = parts(sentence)
    if told is None:
        return False
    names = {o.name: o for o in scene.objects}
    if "place" in told:
        item = next((o for o in scene.objects if o.cell == PLACES.index(told["place"])), None)
        return item is None or tuple(told[n] for n in ("size", "fill", "colour", "shape")) != (
            item.size,
            item.fill,
            item.colour,
            item.shape,
        )
    if "relation" in told:
        a = names.get(f"{told['colour']} {told['shape']}")
        b = names.get(f"{told['colour_2']} {told['shape_2']}")
        return (
            a is None
            or b is None
            or not {
                "to the left of": a.column < b.column,
                "to the right of": a.column > b.column,
                "above": a.row < b.row,
                "below": a.row > b.row,
            }[told["relation"]]
        )
    if "noun" in told:
        return BACKGROUND_TEXT[scene.background] != f"a {told['kind']} {told['noun']}"
    if told["ending"] != SHORT_BACKGROUND[scene.background]:
        return True
    for n in range((len(told) - 1) // 4):
        item = names.get(f"{told[f'colour_{n}']} {told[f'shape_{n}']}")
        size, fill = told[f"size_{n}"], told[f"fill_{n}"]
        if item is None or (size and (size, fill) != (item.size, item.fill)):
            return True
    return False


_VALUES = {"size": SIZES, "fill": FILLS, "colour": COLOURS, "shape": SHAPES}


def _form(template: str, values: Mapping[str, str]) -> str:
    """The regular expression of a template: each {name} becomes its expression, a group of that name."""
    pieces = re.split(r"{(\w+)}", template)
    return "".join(f"(?P<{p}>{values[p]})" if n % 2 else re.escape(p) for n, p in enumerate(pieces))


def _forms(style: Style) -> list[tuple[str, re.Pattern[str]]]:
    """What each sentence of a style looks like, by kind of fact."""
    words = {name: _any(values) for name, values in _VALUES.items()}
    before, behind = style.place
    colon = "" if behind == ":" else " "
    first, between = style.relation
    name = "(?P<{0}>" + words["colour"] + ") (?P<{1}>" + words["shape"] + ")"
    relations = _any(tuple(between.values()))
    backgrounds = {"background": _any(tuple(BACKGROUND_TEXT.values()))}
    made = [
        ("count", _form(style.count.replace("{}", "{count}"), {"count": _any(COUNTS)})),
        ("background", _form(style.background.replace("{}", "{background}"), backgrounds)),
        (
            "object",
            f"{re.escape(before)} (?P<place>{_any(style.places)}){colon}{re.escape(behind)} "
            f"{_form(style.thing, words)}\\.",
        ),
        (
            "relation",
            f"{re.escape(first)} {name.format('colour', 'shape')}(?P<relation>{relations}) "
            f"{name.format('colour_2', 'shape_2')}\\.",
        ),
        ("only", re.escape(style.only)),
        ("text", re.escape(style.text)),
        ("people", re.escape(style.people)),
    ]
    return [(kind, re.compile(form)) for kind, form in made]


_FORMS = tuple((style, _forms(style)) for style in STYLES)


def _fact(style: Style, forms: list[tuple[str, re.Pattern[str]]], sentence: str) -> Fact | None:
    kinds = {text: kind for kind, text in BACKGROUND_TEXT.items()}
    for kind, form in forms:
        found = form.fullmatch(sentence)
        if found is None:
            continue
        if kind == "background":
            return "background", kinds[found["background"]]
        if kind == "object":
            return "object", style.places.index(found["place"]), *(found[name] for name in _VALUES)
        if kind == "relation":
            word = next(word for word, text in style.relation[1].items() if text == found["relation"])
            return "relation", found["colour"], found["shape"], word, found["colour_2"], found["shape_2"]
        return (kind, found["count"]) if kind == "count" else ("only",) if kind == "only" else ("negation", kind)
    return None


def _read_short(style: Style, text: str) -> list[Fact] | None:
    """The facts of a rewritten short caption."""
    form = _form(style.around, {"things": ".+", "background": _any((*BACKGROUND_TEXT.values(),))})
    found = re.fullmatch(form, text, re.IGNORECASE)
    if found is None:
        return None
    kind = next(k for k, v in BACKGROUND_TEXT.items() if v == found["background"].lower())
    things, words = found["things"], {name: _any(values) for name, values in _VALUES.items()}
    if alone := re.fullmatch(re.escape(style.alone) + _form(style.thing, words), things, re.IGNORECASE):
        return [("listed", *(alone[name].lower() for name in _VALUES)), ("background", kind)]
    told: list[Fact] = []
    for thing in things.split(style.joined):
        one = re.fullmatch(_form(style.listed, words), thing, re.IGNORECASE)
        if one is None:
            return None
        told.append(("listed", one["colour"].lower(), one["shape"].lower()))
    return [*told, ("background", kind)]


def read(text: str) -> list[Fact] | None:
    """The facts of a rewrite in one of the styles, in the order of its sentences; None if a sentence is of no style."""
    for style in STYLES:
        if (told := _read_short(style, text)) is not None:
            return told
    found: list[Fact] = []
    for sentence in re.findall(r"[^.]+\.", text):
        candidates = (_fact(style, forms, sentence.strip()) for style, forms in _FORMS)
        fact = next((one for one in candidates if one is not None), None)
        if fact is None:
            return None
        found.append(fact)
    return found
