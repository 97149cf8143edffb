"""Words with their Penn tags, and what each is within a noun phrase, as far as its neighbours decide it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from recaption.annotate import lexicon as lex
from recaption.annotate.lemma import singular

OTHER, NOUN, ADJECTIVE, NUMBER, DETERMINER, SKIP = range(6)
"""Kinds of words. SKIP is an ignored part of the phrase ("very", "and" between adjectives), OTHER ends the phrase."""
_PARTICIPLE, _ADVERB, _JOIN = range(6, 9)  # not decided yet

NOUNS: Final = frozenset(("NN", "NNS", "NNP", "NNPS"))
PLURAL: Final = frozenset(("NNS", "NNPS"))
ADJECTIVES: Final = frozenset(("JJ", "JJR", "JJS"))
FINITE: Final = frozenset(("VBZ", "VBP", "VBD", "MD"))
NEGATORS: Final = frozenset(("not", "n't", "n’t", "never", "without", "devoid", "lacks", "lacking", "lack"))

_OF_TAG = {
    **dict.fromkeys(NOUNS, NOUN),
    **dict.fromkeys(ADJECTIVES, ADJECTIVE),
    "CD": NUMBER,
    **dict.fromkeys(("DT", "PDT", "PRP$", "WDT", "WP$"), DETERMINER),
    **dict.fromkeys(("VBN", "VBG", "VBD"), _PARTICIPLE),
    **dict.fromkeys(("RB", "RBR", "RBS"), _ADVERB),
    **dict.fromkeys((",", "CC"), _JOIN),
}
_LEADS = frozenset(("CD", "HYPH", ",", "IN", "CC"))  # tags before a participle that precedes its noun
_SHAPES = frozenset(("square", "oval"))
_PREDICATE = 12  # words between a copula and a colour of its subject


class Token(NamedTuple):
    """A word, or words joined by hyphens, with its Penn tag and its place in the caption's text."""

    text: str  # lower-case
    tag: str
    start: int
    end: int
    lemma: str = ""  # where the pipeline knows it; English plurals have a table


def join_hyphens(tokens: Sequence[Token]) -> list[Token]:
    """Join runs like "T-shirt", which the tokenizer splits into three. The result has the tag of the last part."""
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


def as_plural(token: Token) -> Token:
    """Taggers miss plurals of rare words; a noun that looks like one is one."""
    text = token.text
    if token.tag != "NN" or token.lemma or len(text) < 4 or text in lex.SINGULAR_IN_S:
        return token
    return token._replace(tag="NNS") if text.endswith("s") and not text.endswith(("ss", "us", "is")) else token


def lemma_of(token: Token) -> str:
    """The lemma of a noun: that of the pipeline, else the singular from the table."""
    if token.lemma:
        return token.lemma
    return singular(token.text) if token.tag in PLURAL else token.text


def kinds_of(tokens: Sequence[Token]) -> list[int]:
    """The kind of each word, one of the six above."""
    kinds = [_OF_TAG.get(token.tag, OTHER) for token in tokens]
    for i, kind in enumerate(kinds):
        if kind == NOUN:
            _noun(tokens, kinds, i)
        elif kind == ADJECTIVE:
            if tokens[i].text in lex.NUMBERS and tokens[i].text != "single":
                kinds[i] = NUMBER
            elif tokens[i].text in _SHAPES and (not i or kinds[i - 1] in (DETERMINER, ADJECTIVE, NUMBER)):
                goes_on = _tag(tokens, i + 1) in NOUNS | ADJECTIVES or _coordinates(tokens, i + 1)
                kinds[i] = ADJECTIVE if goes_on else NOUN  # "a red square", but "a square table"
        elif kind == _PARTICIPLE:
            kinds[i] = ADJECTIVE if _is_attributive(tokens, kinds, i) else OTHER
        elif kind == _ADVERB:
            degree = _tag(tokens, i + 1) in ("JJ", "VBN", "RB", "JJR") and tokens[i].text not in NEGATORS
            kinds[i] = SKIP if degree else OTHER
        elif kind == _JOIN:
            kinds[i] = SKIP if i and kinds[i - 1] == ADJECTIVE and _coordinates(tokens, i) else OTHER
    return kinds


def _tag(tokens: Sequence[Token], i: int) -> str:
    return tokens[i].tag if 0 <= i < len(tokens) else ""


def _noun(tokens: Sequence[Token], kinds: list[int], i: int) -> None:
    text = tokens[i].text
    if not text[:1].isalnum() or text in lex.NEVER_NOUNS:
        kinds[i] = OTHER
    elif text.endswith("ed") and len(text) > 6 and text not in lex.NOUNS_IN_ED:
        kinds[i] = ADJECTIVE if _tag(tokens, i + 1) in NOUNS else OTHER
    elif text in lex.UNITS and _tag(tokens, i - 1) == "CD":
        kinds[i - 1] = kinds[i] = SKIP  # "a 12 oz bottle" is one
    elif text in lex.COLOURS and (_coordinates(tokens, i + 1) or _is_predicate(tokens, i)):
        kinds[i] = ADJECTIVE


def _is_attributive(tokens: Sequence[Token], kinds: Sequence[int], i: int) -> bool:
    """A participle before its noun: "a parked car", "hold glowing phones"; not "a man and a dog riding waves"."""
    token, following, before = tokens[i], _tag(tokens, i + 1), _tag(tokens, i - 1)
    in_phrase = i > 0 and kinds[i - 1] in (DETERMINER, ADJECTIVE)
    if following in (",", "CC"):
        return i > 0 and kinds[i - 1] == DETERMINER and _coordinates(tokens, i + 1)
    if following not in NOUNS and following not in ADJECTIVES:
        return False
    led = in_phrase or before in _LEADS
    if token.tag == "VBG":
        led = (led and before not in (",", "CC", "IN")) or (before in FINITE and following == "NNS")
    return led or not before or "-" in token.text


def _coordinates(tokens: Sequence[Token], i: int) -> bool:
    """At `i` a comma or conjunction is followed by another adjective of the same phrase: "red and white flags"."""
    j = i
    while j < len(tokens) and tokens[j].tag in (",", "CC", "RB"):
        j += 1
    if j == i or j >= len(tokens):
        return False
    return tokens[j].tag in ADJECTIVES or (tokens[j].text in lex.COLOURS and tokens[j].tag == "NN")


def _is_predicate(tokens: Sequence[Token], i: int) -> bool:
    """Whether the colour at `i` is of a subject: "its beak is bright orange", "the leaves are yellow and orange"."""
    if _tag(tokens, i + 1) in NOUNS:
        return False
    first = max(0, i - _PREDICATE)
    while i > first and (tokens[i - 1].tag in ("JJ", "RB", "CC", ",") or tokens[i - 1].text in lex.COLOURS):
        i -= 1
    return i > 0 and (tokens[i - 1].text in lex.COPULAS or tokens[i - 1].text == "painted")
