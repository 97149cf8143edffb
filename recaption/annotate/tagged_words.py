"""Words with their Penn tags, and the role of each word in a noun phrase, derived from its tag and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from recaption.annotate import lexicon as lex
from recaption.annotate.lemma import singular

OTHER, NOUN, ADJECTIVE, NUMBER, DETERMINER, SKIP = range(6)
"""Roles of words. SKIP is an ignored part of the phrase ("very", "and" between adjectives); OTHER ends the phrase."""
_PARTICIPLE, _ADVERB, _CONJUNCTION = range(6, 9)  # `roles_of` replaces these by one of the six roles

NOUNS: Final = frozenset(("NN", "NNS", "NNP", "NNPS"))
PLURAL: Final = frozenset(("NNS", "NNPS"))
ADJECTIVES: Final = frozenset(("JJ", "JJR", "JJS"))
FINITE: Final = frozenset(("VBZ", "VBP", "VBD", "MD"))
NEGATORS: Final = frozenset(("not", "n't", "n’t", "never", "without", "devoid", "lacks", "lacking", "lack"))

_ROLE_OF_TAG = {
    **dict.fromkeys(NOUNS, NOUN),
    **dict.fromkeys(ADJECTIVES, ADJECTIVE),
    "CD": NUMBER,
    **dict.fromkeys(("DT", "PDT", "PRP$", "WDT", "WP$"), DETERMINER),
    **dict.fromkeys(("VBN", "VBG", "VBD"), _PARTICIPLE),
    **dict.fromkeys(("RB", "RBR", "RBS"), _ADVERB),
    **dict.fromkeys((",", "CC"), _CONJUNCTION),
}
_BEFORE_PARTICIPLES = frozenset(("CD", "HYPH", ",", "IN", "CC"))  # tags before a participle that modifies a noun
_NOUN_ENDINGS_IN_ED = ("weed", "seed", "bed", "shed", "sled", "hundred", "breed", "speed")
BE = frozenset(("is", "are", "was", "were", "be", "been", "being", "am", "'s", "’s", "'re", "’re"))
_PRONOUNS_BEFORE_VERBS = frozenset(("some", "others", "one", "another", "each", "all", "both", "many"))
_BEFORE_ATTRIBUTIVE_ING = frozenset(("with", "of", "against", "between", "among", "under", "beneath"))
_SHAPES = frozenset(("square", "oval"))
_MAX_PREDICATE = 12  # words from a copula to a colour of its subject


@dataclass(slots=True)
class Token:
    """A word, or words joined by hyphens, with its Penn tag and its offsets in the text of the caption (code points,
    half-open).

    Rules never change a token. It is no tuple and not frozen, because its attributes are read in a quarter of the time
    of a tuple's, and a frozen one takes three times as long to make.
    """

    text: str  # lower-case
    tag: str
    start: int
    end: int
    lemma: str = ""  # from the pipeline; empty: the pipeline has no lemmatizer


def join_hyphens(tokens: Sequence[Token]) -> list[Token]:
    """The tokens, with words such as "T-shirt", which the tokenizer splits into three, joined. A joined token has the
    tag of its last part."""
    if "-" not in [token.text for token in tokens]:
        return list(tokens)
    out: list[Token] = []
    glue = False
    for token in tokens:
        if out and out[-1].end == token.start and (glue or (token.text == "-" and out[-1].text[-1:].isalnum())):
            last = out[-1]
            tag = token.tag if glue else last.tag
            out[-1] = Token(last.text + token.text, tag, last.start, token.end)
            glue = not glue
        else:
            out.append(token)
            glue = False
    return out


def is_plural(noun: str) -> bool:
    """Whether a noun that is tagged as a singular ends like a plural: taggers miss plurals of rare words."""
    if not noun.endswith("s") or len(noun) < 4 or noun in lex.SINGULAR_IN_S:
        return False
    return not noun.endswith(("ss", "us", "is"))


def lemma_of(token: Token) -> str:
    """The lemma of a noun: that of the pipeline, or the singular of an English plural."""
    if token.lemma:
        return token.lemma
    return singular(token.text) if token.tag in PLURAL else token.text


def roles_of(tokens: Sequence[Token]) -> list[int]:
    """The role of each word, one of the six above."""
    roles = [_ROLE_OF_TAG.get(token.tag, OTHER) for token in tokens]
    for i, role in enumerate(roles):
        if role == NOUN:
            if not _is_always_noun(tokens[i].text):
                _set_noun_role(tokens, roles, i)
        elif role == ADJECTIVE:
            if tokens[i].text in lex.NUMBERS and tokens[i].text != "single":
                roles[i] = NUMBER
            elif tokens[i].text in _SHAPES and (not i or roles[i - 1] in (DETERMINER, ADJECTIVE, NUMBER)):
                continues = tag_at(tokens, i + 1) in NOUNS | ADJECTIVES or coordinates(tokens, i + 1)
                roles[i] = ADJECTIVE if continues else NOUN  # "a red square", but "a square table"
        elif role == _PARTICIPLE:
            roles[i] = ADJECTIVE if _is_attributive(tokens, roles, i) else OTHER
        elif role == _ADVERB:
            is_degree = tag_at(tokens, i + 1) in ("JJ", "VBN", "RB", "JJR") and tokens[i].text not in NEGATORS
            roles[i] = SKIP if is_degree else OTHER
        elif role == _CONJUNCTION:
            in_list = i > 0 and (roles[i - 1] == ADJECTIVE or _in_long_list(tokens, roles, i))
            roles[i] = SKIP if in_list and coordinates(tokens, i) else OTHER
    return roles


def tag_at(tokens: Sequence[Token], i: int) -> str:
    """The tag of the word at `i`; empty outside the sentence."""
    return tokens[i].tag if 0 <= i < len(tokens) else ""


@lru_cache(maxsize=8192)
def _is_always_noun(text: str) -> bool:
    """Whether `_set_noun_role` leaves a word that is tagged as a noun as it is."""
    if not text[:1].isalnum() or text in lex.NEVER_NOUNS or text in lex.UNITS:
        return False
    if text in lex.COLOURS or text in lex.MATERIALS:
        return False
    return not text.endswith("ed")


def _set_noun_role(tokens: Sequence[Token], roles: list[int], i: int) -> None:
    text = tokens[i].text
    if not text[:1].isalnum() or text in lex.NEVER_NOUNS:
        roles[i] = OTHER
    elif text.endswith("ed") and len(text) > 6 and not text.endswith(_NOUN_ENDINGS_IN_ED):
        roles[i] = ADJECTIVE if tag_at(tokens, i + 1) in NOUNS else OTHER
    elif text in lex.UNITS and tag_at(tokens, i - 1) == "CD":
        roles[i - 1] = roles[i] = SKIP  # "a 12 oz bottle" is one
    elif text in lex.COLOURS:
        if coordinates(tokens, i + 1) or _is_predicate(tokens, i):
            roles[i] = ADJECTIVE
    elif (
        tag_at(tokens, i + 1) == "CC" and tag_at(tokens, i + 3) in NOUNS and {text, tokens[i + 2].text} <= lex.MATERIALS
    ):
        roles[i] = ADJECTIVE  # "a stone and brick pedestal"


def _is_attributive(tokens: Sequence[Token], roles: Sequence[int], i: int) -> bool:
    """Whether the participle at `i` modifies a noun after it: "a parked car", "hold glowing phones"; but not in "a man
    and a dog riding waves"."""
    token, following, before = tokens[i], tag_at(tokens, i + 1), tag_at(tokens, i - 1)
    in_phrase = i > 0 and (roles[i - 1] in (DETERMINER, ADJECTIVE) or before == "POS")
    if following in (",", "CC"):
        return i > 0 and roles[i - 1] in (DETERMINER, ADJECTIVE, SKIP) and coordinates(tokens, i + 1)
    if following not in NOUNS and following not in ADJECTIVES:
        return False
    is_modifier = in_phrase or before in _BEFORE_PARTICIPLES
    if token.tag == "VBG":
        word = tokens[i - 1].text if i else ""
        if word in _PRONOUNS_BEFORE_VERBS or before == "CD":
            return i > 1 and tokens[i - 2].tag not in (",", "CC") and before == "CD"  # "some wearing red jerseys"
        in_list = before == "," and roles[i - 1] == SKIP and not _is_predicate(tokens, i - 1)
        is_modifier = is_modifier and (before not in (",", "CC", "IN") or in_list)
        is_modifier = is_modifier or (before in FINITE and following == "NNS" and word not in BE)
        is_modifier = is_modifier or (word in _BEFORE_ATTRIBUTIVE_ING and following == "NNS")
    elif before == "RB":
        is_modifier = i > 1 and (
            roles[i - 2] in (DETERMINER, ADJECTIVE, NUMBER, SKIP) or tokens[i - 2].tag == "IN"
        )  # "a meticulously crafted model"
    return is_modifier or not before or "-" in token.text


def _in_long_list(tokens: Sequence[Token], roles: Sequence[int], i: int) -> bool:
    """Whether the "and" at `i` follows the last comma of a list of three adjectives or more: "red, blue, and white"."""
    if roles[i - 1] != SKIP or tokens[i - 1].tag != ",":
        return False
    j, commas = i - 1, 0
    while j >= max(0, i - _MAX_PREDICATE) and roles[j] in (ADJECTIVE, SKIP):
        commas += tokens[j].tag == ","
        j -= 1
    return commas > 1 and not (j >= 0 and tokens[j].text in lex.COPULAS)


def coordinates(tokens: Sequence[Token], i: int) -> bool:
    """Whether a comma or conjunction at `i` is followed by another adjective of the phrase: "red and white flags"."""
    j = i
    while j < len(tokens) and tokens[j].tag in (",", "CC", "RB"):
        j += 1
    if j == i or j >= len(tokens):
        return False
    token = tokens[j]
    if token.tag in ADJECTIVES or (token.text in lex.COLOURS and token.tag == "NN"):
        return True
    if token.text in lex.MATERIALS and token.tag == "NN" and tag_at(tokens, j + 1) in NOUNS:
        return True  # "a stone and brick pedestal"
    if tokens[i].tag != ",":
        return False
    following = tag_at(tokens, j + 1)
    is_participle = token.tag in ("VBN", "VBG") or (token.tag in ("NN", "VBD") and "-" in token.text)
    if following == ",":
        following = tag_at(tokens, j + 2)  # "an old, rusted, green truck"
    continues = following in NOUNS or following in ADJECTIVES
    return is_participle and continues  # "a red, double-decker bus"


def _is_predicate(tokens: Sequence[Token], i: int) -> bool:
    """Whether the colour at `i` describes a subject: "its beak is bright orange", "leaves are yellow and orange"."""
    if tag_at(tokens, i + 1) in NOUNS:
        return False
    first = max(0, i - _MAX_PREDICATE)
    while i > first and (tokens[i - 1].tag in ("JJ", "RB", "CC", ",") or tokens[i - 1].text in lex.COLOURS):
        i -= 1
    return i > 0 and (tokens[i - 1].text in lex.COPULAS or tokens[i - 1].text == "painted")
