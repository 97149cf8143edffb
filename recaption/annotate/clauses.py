"""The clauses of a sentence, with the words in them that state something. What is left is no parse: a word has its part
of speech, and a noun the preposition before it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from recaption.annotate.content_words import STOP_WORDS
from recaption.annotate.lexicon import word_set, words
from recaption.annotate.reduced import BACKGROUND_OF, HEDGES, NEW_CLAUSE
from recaption.annotate.stems import PLACE_WORDS, PLACES, implied_by, stem
from recaption.annotate.tagged_words import NOUNS, PLURAL, Token

_WEIGHTLESS: Final = HEDGES | word_set("""
    midst progress punctuated nestled
    through along within throughout among amid amidst during via upon atop across towards toward
    feature features featuring featured include includes including contain contains containing consist consists
    depict depicts depicted show shows shown display displays capture captures captured present presence
    several various multiple numerous many variety different some number group few everyone whole all
    maybe might may seemingly apparently evidently would could must indicate indicates suggest suggests
    enjoy enjoys enjoying time moment experience ready prepared way process filled
    get getting take takes taking taken do doing go going come make makes made use uses using used set
    side area part close closer nearby prominently clearly quite still currently actively simply directly
    type kind sort item object thing element while what where when if because addition
    beautiful nice lovely picturesque scenic impressive interesting stunning charming perfect great good unique fun
    cozy cosy delicious tasty dining main primary focus scene view environment setting surroundings space
    color colour colors colours looks appearance design
    types kinds sorts items objects things elements further farther combination eye-catching
    lively bustling vibrant majestic cheerful relaxed playful joyful casual company companionship
    natural dynamic creative safe comfortable social celebratory healthy rustic curious artistic
    assortment collection selection amount generous diverse but either pattern patterns texture textures finish
    adorned adorning adorns decorated standing-out featuring
    """)
"""Words that add nothing that can be seen to a sentence that has the others."""
TELLING_ADVERBS: Final = word_set("horizontally vertically diagonally barely partially")
"""Adverbs that can be seen."""
_CLOSE: Final = word_set("close closer")
_CLOSE_BY: Final = word_set("close closely closer tightly")
_ONE: Final = word_set("one ones other")
_TWO: Final = word_set("both two")
_NEAR_VIEWER: Final = word_set("camera viewer foreground each one background")
"""What a thing is close to without being near another: "close to the camera", "close to each other"."""
FRAMES: Final = word_set("field scene room area image picture photo frame")
"""Nouns that add nothing to an area: "the left side of the field"."""
POSES: Final = frozenset(map(stem, words("sitting standing resting lying placed positioned located situated topped")))
"""What of a thing that is not alive says no more than where it is."""
_OF_PRONOUNS: Final = {"he": "man", "she": "woman"}
_SUBJECT_PRONOUNS: Final = word_set("he she it they")
_GROUPS: Final = word_set("crowd team herd flock family group pair couple figure")
_OF: Final = word_set("of at in")
_AREAS: Final = word_set("center corner foreground background")
_JOINED: Final = word_set("covered filled")  # "snow-covered"
_AREA_NOUNS: Final = word_set("side part edge corner half section area")
"""Nouns after which a place is an area of the picture or of a room: "on the left side of the room"."""
_PREPOSITIONS: Final = word_set("on in at with of from to by")
_JOINING: Final = word_set("and with")
_ARTICLES: Final = word_set("a an")
_YEARS: Final = word_set("year years")
_LIKE_ADJECTIVES: Final = frozenset(("JJ", "VBN", "VBD"))
_NOT_WORDS: Final = word_set("together")
_SPECIAL: Final = (
    NEW_CLAUSE
    | _JOINING
    | _AREA_NOUNS
    | _PREPOSITIONS
    | PLACE_WORDS
    | _NOT_WORDS
    | word_set("one ones other both 's ’s ' to he she it they")
)


class Word(NamedTuple):
    """A word that states something.

    `part` is noun, modifier (a noun before a noun), owner (a noun with a genitive s), verb, adj, area (a place in the
    picture), weak (states something only of the earlier sentence) or other. `preposition` is the last one before a
    noun. `is_new`: "a" or "an" is before the noun.
    """

    stem: str
    part: str
    plural: bool = False
    preposition: str = ""
    of: str = ""
    is_new: bool = False


Clause = list[Word]


def is_implied(noun: str, other: str) -> bool:
    """Whether the noun with the stem `other` implies that with the stem `noun`."""
    return noun == other or other in implied_by("noun", noun)


def clauses_of(tokens: Sequence[Token]) -> list[Clause]:
    clause: Clause = []
    out = [clause]
    before = preposition = ""
    is_held = is_next = is_new = False
    for at, token in enumerate(tokens):
        word, tag = token.text, token.tag
        if word in _SPECIAL:
            if word in NEW_CLAUSE or (before == "," and word in _JOINING):
                clause = []
                out.append(clause)
                is_next = False
            if is_next and word in _AREA_NOUNS and clause[-1].stem in PLACES:
                clause[-1] = clause[-1]._replace(part="area")
            if is_next and tag == "POS":
                clause[-1] = clause[-1]._replace(part="owner")
            if word in _PREPOSITIONS:
                preposition = word
            elif word in PLACE_WORDS:
                preposition = stem(word)
            is_pronoun = not clause and at + 1 < len(tokens) and tokens[at + 1].text in _PREPOSITIONS
            if word in _ONE and (is_pronoun or (clause and clause[-1].part == "adj")):
                clause.append(Word("", "weak"))
            if word == "both":
                clause.append(Word("two", "weak"))
            if (
                word == "to"
                and before in _CLOSE
                and not any(other.text in _NEAR_VIEWER for other in tokens[at + 1 : at + 3])
            ):
                clause.append(Word("near", "weak"))
            if word in _SUBJECT_PRONOUNS and not clause:
                clause.append(Word(_OF_PRONOUNS.get(word, ""), "weak", word == "they"))
            if (before == "each" and word == "other") or (before == "by" and word == "side"):
                if clause and clause[-1].stem == "beside":
                    clause.pop()  # "next to each other"
                clause.append(Word("together", "other"))
            elif word == "together":
                clause.append(Word("together", "other" if before in _CLOSE_BY else "weak"))
        was_next, is_next = is_next, False
        if tag == "DT":
            is_new = word in _ARTICLES
        is_part = tag == "CD" and at + 1 < len(tokens) and tokens[at + 1].text == "-"  # "a two-lane road"
        is_idle = is_part or _adds_nothing(tokens, at, before, is_new=is_new)
        found = None if is_idle else word_of(word, tag, before == "-")
        if found is not None:
            if tag == BACKGROUND_OF:
                found = found._replace(preposition="of")
            is_held = is_held or found.stem == "hold"
            if word in FRAMES and preposition == "of" and clause and clause[-1].part == "area":
                clause.append(found._replace(part="weak"))
            elif not (is_held and found.stem == "hand" and before not in _TWO):
                if found.part == "noun":
                    place = preposition
                    if (
                        was_next
                        and clause[-1].part == "noun"
                        and not word.endswith("ing")  # "an elephant spraying dust", tagged as a noun
                        and not is_implied(found.stem, clause[-1].stem)
                    ):
                        place, is_new = clause[-1].preposition, clause[-1].is_new
                        clause[-1] = clause[-1]._replace(part="modifier", is_new=False)  # not "laptop computer"
                    if place or is_new:
                        found = found._replace(preposition=place, is_new=is_new)
                    is_described = was_next and clause[-1].part in ("adj", "modifier")
                    if is_described or (place in _OF and clause and clause[-1].part == "noun"):
                        found = found._replace(of=clause[-1].stem)
                clause.append(found)
                is_next = True
        if tag in NOUNS and word not in _AREA_NOUNS:
            preposition, is_new = "", False
        before = word
    for clause in out:
        _weaken_poses(clause)
    return out


def _adds_nothing(tokens: Sequence[Token], at: int, before: str, *, is_new: bool) -> bool:
    """Whether a word that can state something states nothing here: "the couple", "a couple of", "a little worn", "7
    years old". Not "a happy couple": two people."""
    word, after = tokens[at].text, tokens[at + 1] if at + 1 < len(tokens) else None
    if word == "couple":
        return not (is_new or before == "one") or (after is not None and after.text == "of")
    if word == "little":
        return before == "a" and after is not None and after.tag in _LIKE_ADJECTIVES
    if word in _YEARS:
        return before == "-" or (after is not None and after.text in ("old", "-"))
    if word == "old":
        return before in _YEARS or (before == "-" and at > 1 and tokens[at - 2].text in _YEARS)
    return False


def _weaken_poses(clause: Clause) -> None:
    """Makes "sitting" weak in "a vase sitting on a table", but not in "a dog sitting on a table"."""
    subject = ""
    for at, word in enumerate(clause):
        if not subject and is_noun(word):
            subject = word.stem
        elif subject and word.stem in POSES and word.part in ("verb", "adj"):
            if not is_alive(subject):
                clause[at] = word._replace(part="weak")
            return


@lru_cache(maxsize=8192)
def is_person(noun: str) -> bool:
    """Whether the noun with this stem is a person."""
    return is_implied("person", noun) and not is_implied("animal", noun)  # "dog" may be a person in WordNet


@lru_cache(maxsize=8192)
def is_alive(noun: str) -> bool:
    """Whether the noun with this stem is a person, an animal or a group."""
    return is_implied("person", noun) or is_implied("animal", noun) or noun in _GROUPS


@lru_cache(maxsize=16384)
def word_of(word: str, tag: str, is_joined: bool) -> Word | None:
    """None for a word that states nothing. `is_joined`: it stands behind a hyphen."""
    if not word[:1].isalnum() or word in _NOT_WORDS:
        return None
    is_weightless = (
        word in STOP_WORDS
        or word in _WEIGHTLESS
        or (tag == "RB" and word.endswith("ly") and word not in TELLING_ADVERBS)
    )
    if is_weightless and not is_joined:
        return None
    found = stem(word)
    if is_joined and tag[:2] in ("JJ", "VB"):
        return Word(found, "weak" if word in _JOINED else "other")  # "snow-covered", "well-furnished"
    part = "area" if found in _AREAS else {"NN": "noun", "VB": "verb", "JJ": "adj"}.get(tag[:2], "other")
    return Word(found, part, tag in PLURAL)


def is_noun(word: Word) -> bool:
    return word.part == "noun" and word.stem not in PLACES
