"""Detects sentences of one image that repeat an earlier one, within a caption or across captions.

A sentence is compared by its content words, reduced to stems, and by the places that it names ("left of the dog").
Order, articles, openers and inflection do not count, but numbers, colours, places and negations do. A sentence repeats
another if most of its content words are in the other, and if it adds no distinguishing word: no number, colour, place,
negation, object or attribute. A pronoun in the other may correspond to a name in this one.

A sentence is compared with at most `_COMPARED` earlier ones for each of its words, so the time is linear.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from recaption.annotate import lexicon as lex
from recaption.annotate.lemma import singular
from recaption.annotate.words import words
from recaption.types import Tag

_WORD = re.compile(r"[^\W_]+")
_EMPTY = frozenset(
    words("""
    a an the and also is are was were be been being it its this that these those there here which who whose of to has
    have having had very quite some can could may seen see sees visible appear appears seems seem we image picture
    photo as at by with their his her they he she them him while so such do does then than too both other another each
    one well just only additionally overall additional furthermore moreover located positioned situated placed any t
    wear wears wearing worn wore s in on for from into onto about around round roughly approximately bit slightly made
    various different single atmosphere mood feeling ambiance ambience vibe sense scene conveys convey conveying
    creates create creating gives give giving adds add evokes evoke exudes exude lends lend impression feel feels
    whole due
    """)
)
_PLACES = frozenset(
    words("""
    left right above below under behind front beside near top bottom inside outside over between against opposite center
    corner foreground background
    """)
)
_PRONOUNS = frozenset(words("he she it they one its his her their"))
_CONTRASTS = _PLACES | {"no"} | lex.COLOURS | (frozenset(lex.NUMBERS) - {"single"})
_SAME = 0.75  # share of a sentence's features (content words, places) that are in the other one
_PART = 0.35  # of the other one, at least
_ENOUGH, _LEAST = 4, 2  # features; of shorter ones all must be there, and shorter still only equal ones are compared
_COMPARED = 32
_SAME_AS = dict(
    pair.split(":")
    for pair in words("""
    sat:sit sitting:sit stood:stand lain:lie lying:lie laid:lay held:hold hung:hang ran:run running:run written:write
    wrote:write drawn:draw drew:draw grey:gray colour:color centre:center middle:center not:no isn:no aren:no wasn:no
    weren:no doesn:no don:no neither:no nor:no nothing:no without:no none:no nobody:no never:no cannot:no
    beneath:under underneath:under next:beside alongside:beside upon:on large:big couch:sofa bike:bicycle
    bikes:bicycle kid:child kids:child lady:woman ladies:woman automobile:car tv:television fridge:refrigerator
    rug:carpet cellphone:phone tiny:small little:small tranquil:calm serene:calm peaceful:calm cozy:cosy warmth:warm
    comfort:comfortable melancholy:melancholic brushwork:brushstroke firefighter:fireman nighttime:night
    sidewalk:pavement photograph:photo
    """)
)
"""Inflections that no rule finds, negations, and the synonyms that captions of one image change most often."""


@dataclass(frozen=True, slots=True)
class _Said:
    """A sentence as it is compared."""

    sub_id: str
    stems: tuple[str, ...]
    features: frozenset[str]
    of_heads: dict[str, set[str]]
    has_pronoun: bool


class Seen:
    """The sentences of one image so far."""

    def __init__(self) -> None:
        self._words: set[str] = set()
        self._exact: dict[tuple[str, ...], str] = {}
        self._by_word: dict[str, list[int]] = {}
        self._said: list[_Said] = []

    def add(self, sub_id: str, content: str, objects: Sequence[Tag] = ()) -> tuple[str | None, float]:
        """The sub_id of the earlier sentence that this one repeats, and the share of its content words that occurred
        before, in [0, 1]. A sentence that repeats none is recorded. `objects` are the objects that it names."""
        found = _WORD.findall(content.casefold())
        stems = tuple([_stem(word) for word in found if word not in _EMPTY] or found)
        if not stems:
            return None, 0.0
        distinct = set(stems)
        said = len(distinct & self._words) / len(distinct)
        earlier = self._exact.get(stems)
        if earlier is None:
            features = frozenset(distinct | _places(stems))
            new = _Said(sub_id, stems, features, _of_heads(objects), not _PRONOUNS.isdisjoint(found))
            earlier = self._repeated(new, distinct, {_stem(word) for tag in objects for word in _words_of(tag)})
            if earlier is None:
                self._exact[stems] = sub_id
                for feature in features:
                    self._by_word.setdefault(feature, []).append(len(self._said))
                self._said.append(new)
        self._words |= distinct
        return earlier, said

    def _repeated(self, new: _Said, stems: set[str], things: set[str]) -> str | None:
        features = new.features
        if len(features) < _LEAST:
            return None
        shared: dict[int, int] = {}
        for feature in features:
            for at in self._by_word.get(feature, ())[-_COMPARED:]:
                shared[at] = shared.get(at, 0) + 1
        if not shared:
            return None
        at = max(shared, key=lambda at: (shared[at], -at))
        best, other = shared[at], self._said[at]
        fresh = stems - other.features
        named = fresh & things
        if named and other.has_pronoun and len(named) == 1 and named <= self._words:
            fresh, best = fresh - named, best + 1
        enough = best >= (len(features) if len(features) < _ENOUGH else _SAME * len(features))
        if not enough or len(features) < _PART * len(other.features) or fresh & _CONTRASTS or fresh & things:
            return None
        return None if _swapped(new, other) else other.sub_id


def _swapped(new: _Said, other: _Said) -> bool:
    """Whether the same words apply to other things: left of the dog for left of the cat, a blue car and a red truck for
    a red car and a blue truck, the man bites the dog for the dog bites the man."""
    if any(" " in feature for feature in new.features - other.features):
        return True
    if len(new.stems) > 2 and new.stems == other.stems[::-1]:
        return True
    moved = [word for word, heads in new.of_heads.items() if heads.isdisjoint(other.of_heads.get(word, heads))]
    return len(moved) > 1  # one alone may be the tagger's mistake


def _of_heads(objects: Sequence[Tag]) -> dict[str, set[str]]:
    """Attributes and counts -> the heads that they modify."""
    out: dict[str, set[str]] = {}
    for tag in objects:
        counts = (str(tag.count),) if tag.count is not None and tag.count > 1 else ()
        for word in (*map(_stem, tag.attributes), *counts):
            out.setdefault(word, set()).add(_stem(tag.lemma.rpartition(" ")[2]))
    return out


def _words_of(tag: Tag) -> tuple[str, ...]:
    return (*tag.lemma.split(), *tag.attributes)


def _places(stems: tuple[str, ...]) -> set[str]:
    """ "left of the dog" -> "left dog": without it, "the dog left of the cat" would be "the cat left of the dog"."""
    return {f"{a} {b}" for a, b in pairwise(stems) if a in _PLACES}


@lru_cache(maxsize=16384)
def _stem(word: str) -> str:
    word = _SAME_AS.get(word, word)
    if len(word) <= 3 or word in _CONTRASTS:
        return word
    word = singular(word)
    word = _SAME_AS.get(word, word)
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word[: -len(ending)]
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word.removesuffix("e")
