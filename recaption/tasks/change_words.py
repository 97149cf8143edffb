"""English words that replace each other in a sentence and make it false. Written for this project.

A class has sets of words with one meaning: `small tiny | large big`. A word becomes the first word of another set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

WordClass = Sequence[Sequence[str]]


def _class(text: str) -> WordClass:
    """`small tiny | large big`; words of a phrase are joined by `_`."""
    return tuple(tuple(word.replace("_", " ") for word in of.split()) for of in text.split("|"))


def _each(text: str) -> WordClass:
    """Each word is a set of its own."""
    return tuple((word,) for word in text.split())


def _by_word(*classes: WordClass) -> Mapping[str, tuple[str, ...]]:
    """Each word with those that replace it."""
    return {
        word: tuple(other[0] for other in words if other is not same)
        for words in classes
        for same in words
        for word in same
    }


ATTRIBUTES: Final = _by_word(
    _class(
        "red crimson scarlet | orange | yellow golden | green | blue navy | purple violet | pink | brown | black | "
        "white | grey gray"
    ),
    _class("small tiny little | large big huge"),
    _each("tall short"),
    _each("open closed"),
    _each("empty full"),
    _each("wet dry"),
    _each("striped spotted checkered floral plain"),
    _each("round square triangular rectangular"),
    _class("wooden | metal metallic | plastic | glass | leather | concrete | ceramic"),
)
"""Adjectives."""

NUMBERS: Final = _by_word(_each("two three four five six seven eight nine ten"), _each("2 3 4 5 6 7 8 9 10"))
"""From two on, so that nouns stay plural."""
NUMBER_VALUES: Final[Mapping[str, int]] = {word: n % 9 + 2 for n, word in enumerate(word for word in NUMBERS)}

PLACES: Final = _by_word(
    _each("left right"), _each("top bottom"), _each("upper lower"), _each("foreground background"),
    _each("indoors outdoors"), _each("leftmost rightmost"),
)  # fmt: skip
"""Places in the image."""

RELATIONS: Final = _by_word(
    _class("above over | below under beneath underneath"),
    _each("on under"),
    _class("in_front_of | behind"),
    _each("inside outside"),
    _class("next_to beside near close_to | far_from"),
    _class("on_top_of | underneath"),
)
"""Between two objects. A word of two classes has the replacements of the last one."""

ACTIONS: Final = _by_word(
    _each("sitting standing lying running walking jumping sleeping swimming climbing kneeling flying dancing"),
    _each("sits stands lies runs walks jumps sleeps swims climbs kneels flies dances"),
    _each("eating drinking cooking washing"), _each("eats drinks cooks washes"),
    _each("pushing pulling carrying throwing kicking"), _each("pushes pulls carries throws kicks"),
    _each("smiling crying shouting yawning"), _each("smiles cries shouts yawns"),
)  # fmt: skip
"""Verbs."""

_ANIMALS: Final = (
    _each("dog cat horse cow pig goat rabbit elephant bear lion tiger monkey zebra giraffe"),
    _each("duck eagle owl penguin parrot swan"),
)
OBJECTS: Final = _by_word(
    *_ANIMALS,
    _each("car bus truck train bicycle motorcycle tractor"),
    _each("boat airplane helicopter balloon"),
    _each("chair bed sofa desk wardrobe bookshelf"),
    _each("apple banana pear lemon pineapple carrot tomato"),
    _each("pizza sandwich cake soup salad burger"),
    _each("hat helmet scarf crown"),
    _each("shirt jacket dress coat sweater"),
    _each("guitar piano violin drum trumpet flute"),
    _each("laptop phone camera television radio"),
    _each("fork spoon knife"),
    _each("cup bottle bowl plate vase"),
    _class("man | woman"),
    _class("boy | girl"),
    _each("umbrella suitcase backpack basket"),
    _each("bridge castle church lighthouse barn tower"),
    _each("kite frisbee football skateboard surfboard"),
)
"""Nouns by their lemma."""
ANIMATE: Final = frozenset(
    (*_by_word(*_ANIMALS), "man", "woman", "boy", "girl", "person", "child", "baby", "player", "rider", "bird")
)
"""Nouns of persons and animals, which can do the actions. With other nouns the verbs mean something else: a line runs,
a house stands."""
_PLURALS: Final = {
    "man": "men",
    "woman": "women",
    "knife": "knives",
    "bookshelf": "bookshelves",
    "tomato": "tomatoes",
    "scarf": "scarves",
}


_Known = Literal["attribute", "number", "place", "relation", "action", "object"]
_CLASSES: Final[Mapping[_Known, Mapping[str, tuple[str, ...]]]] = {
    "attribute": ATTRIBUTES,
    "number": NUMBERS,
    "place": PLACES,
    "relation": RELATIONS,
    "action": ACTIONS,
    "object": OBJECTS,
}


def category_of(old: str, new: str) -> _Known | None:
    """The category of a change of one word or phrase into another, if both are words of one class; None: not known."""
    changed = {old.casefold(), new.casefold()}
    return next((name for name, words in _CLASSES.items() if changed <= words.keys()), None)


def names_a_number(text: str) -> bool:
    words = text.casefold().split()
    return any(word in NUMBER_VALUES or word == "one" or word.isdecimal() for word in words)


def plural(noun: str) -> str:
    """The plural of a noun in `OBJECTS`."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2:-1] not in "aeiou" else f"{noun}s"
