"""What distinguishes sentences that have the same words: where from and where to, how many of a group, what an
adjective is said of, in which order two numbers stand, and from where the picture was taken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from recaption.annotate.lexicon import word_set, words
from recaption.annotate.stems import stem
from recaption.annotate.tagged_words import NOUNS, PLURAL, Token

_FROM: Final = word_set("from off out")
_THERE: Final = word_set("to into onto toward towards on in")
_HANGS: Final = frozenset(map(stem, words("hang hanging dangle suspended")))
"""What hangs from a thing has not left it."""
_KEEPS_DIRECTION: Final = frozenset(("DT", "JJ", "CD", "PRP$", "VBN", "VBG", "POS", "HYPH"))
"""Tags of what may stand between a preposition and its noun."""
_NO_PLACE: Final = "focus"  # "out of focus" and "in focus" are often said of two things
_SHARES: Final = {"all": "all", "every": "all", "everyone": "all", "everybody": "all", "some": "some", "few": "some"}
_SHARES_OF: Final = {"half": "half", "most": "most", "majority": "most", "each": "all"}
"""Words that are a share only before "of" or a noun in the plural: not "most vivid", "each other"."""
_TOWARDS: Final = word_set("toward towards")
_MOVES: Final = frozenset(
    map(
        stem,
        words("""
    walk run move swim drive fly ride head go come travel crawl jump leap race rush sail step lean reach
    """),
    )
)
_VIEW: Final = word_set("angle view perspective viewpoint shot vantage")
_VIEWS: Final = {
    **dict.fromkeys(("level", "straight"), "level"),
    **dict.fromkeys(("low", "ground", "worm"), "low"),
    **dict.fromkeys(("high", "elevated", "above", "overhead", "aerial", "bird", "top"), "high"),
    **dict.fromkeys(("tilted", "dutch", "canted"), "tilted"),
}
_NUMBERS: Final = re.compile(r"\d+(?:\s?(?::|[-–/]|of|out of|to)\s?\d+)+")
"""A score, a time, a fraction or a range."""


def have_same_directions(tokens: Sequence[Token], others: Sequence[Token]) -> bool:
    """Whether nothing that is left in one sentence is reached in the other: "from the house", "into the house"."""
    found, known = _directions(tokens), _directions(others)
    return all(not directions.isdisjoint(known.get(noun, directions)) for noun, directions in found.items())


def _directions(tokens: Sequence[Token]) -> dict[str, set[str]]:
    """Stems of nouns -> "from" for what is left, "there" for where something is or comes to."""
    out: dict[str, set[str]] = {}
    direction = ""
    for at, token in enumerate(tokens):
        if token.tag in NOUNS:
            if at + 1 < len(tokens) and tokens[at + 1].tag in NOUNS:
                continue  # a modifier
            if direction and token.text != _NO_PLACE:
                out.setdefault(stem(token.text), set()).add(direction)
            direction = ""
        elif token.text in _FROM:
            hangs = any(stem(before.text) in _HANGS for before in tokens[max(0, at - 2) : at])
            direction = "" if hangs else "from"
        elif token.text in _THERE:
            direction = "there"
        elif token.tag not in _KEEPS_DIRECTION and not (token.text == "of" and tokens[at - 1].text in _FROM):
            direction = ""
    return out


def described_nouns(tokens: Sequence[Token]) -> list[tuple[str, frozenset[str]]]:
    """Stems of the adjectives directly before a noun, each with the stem of the noun and, in "a blue-rimmed plate",
    with that of the rim."""
    out: list[tuple[str, frozenset[str]]] = []
    adjectives: list[tuple[str, str]] = []
    for at, token in enumerate(tokens):
        if token.tag in ("JJ", "VBN"):
            is_joined = at + 2 < len(tokens) and tokens[at + 1].tag == "HYPH"
            adjectives.append((stem(token.text), stem(tokens[at + 2].text) if is_joined else ""))
        elif token.tag == "HYPH":
            pass
        elif token.tag not in NOUNS:
            adjectives = []
        elif at + 1 == len(tokens) or tokens[at + 1].tag not in NOUNS:
            noun = stem(token.text)
            out += ((adjective, frozenset({noun, part} - {""})) for adjective, part in adjectives)
            adjectives = []
    return out


def have_same_shares(tokens: Sequence[Token], others: Sequence[Token]) -> bool:
    """Whether the sentences do not give different shares: "all of the people", "some people"."""
    found, known = _shares(tokens), _shares(others)
    return not found or not known or not found.isdisjoint(known)


def _shares(tokens: Sequence[Token]) -> set[str]:
    found = {_SHARES[token.text] for token in tokens if token.text in _SHARES}
    for token, after in pairwise(tokens):
        if token.text in _SHARES_OF and (after.text == "of" or after.tag in PLURAL):
            found.add(_SHARES_OF[token.text])
    return found


def is_towards(tokens: Sequence[Token]) -> bool:
    """Whether something moves towards something else: "walks towards the water"."""
    return any(token.text in _TOWARDS and stem(before.text) in _MOVES for before, token in pairwise(tokens))


def has_view_of(found: Sequence[str], others: Sequence[str]) -> bool:
    """Whether two sentences on the view give the same one: not "a level angle" and "from slightly above"."""
    if _VIEW.isdisjoint(found) or _VIEW.isdisjoint(others):
        return True
    views = {_VIEWS[word] for word in found if word in _VIEWS}
    known = {_VIEWS[word] for word in others if word in _VIEWS}
    return not views or not known or (views <= known and ("high" in views) == ("high" in known))


def has_numbers_of(text: str, other: str) -> bool:
    """Whether each score, time, fraction or range of the text is one of the other text: not "3:0" and "0:3"."""
    found = _numbers(text)
    return not found or found <= _numbers(other)


def _numbers(text: str) -> set[tuple[str, ...]]:
    return {tuple(re.findall(r"\d+", match)) for match in _NUMBERS.findall(text)}
