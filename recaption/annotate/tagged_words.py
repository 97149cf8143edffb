"""Words with their Penn tags, and the role of each word in a noun phrase, derived from its tag and its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

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
_CORRECTED = frozenset(("NN", "NNP", "JJ", "VBZ", "VB", "VBP", "VBN", "DT", "NNS", "RB", ",", "CC", "JJS", "UH"))
_NOUN_ENDINGS_IN_ED = ("weed", "seed", "bed", "shed", "sled", "hundred", "breed", "speed")
_ADJECTIVE_ENDINGS = ("ed", "ing", "est", "ly", "ish", "less", "wide", "ian", "ese", "like", "free")
_AFTER_PHRASE = frozenset(("IN", "VBZ", "VBD", "VBP", "MD", ".", "WDT"))  # tags that can follow a complete phrase
_BE = frozenset(("is", "are", "was", "were", "be", "been", "being", "am", "'s", "’s", "'re", "’re"))
_AUXILIARIES = frozenset(("has", "have", "be", "do", "does"))
_PRONOUNS_BEFORE_VERBS = frozenset(("some", "others", "one", "another", "each", "all", "both", "many"))
_BEFORE_ATTRIBUTIVE_ING = frozenset(("with", "of", "against", "between", "among", "under", "beneath"))
_SHAPES = frozenset(("square", "oval"))
_MAX_PREDICATE = 12  # words from a copula to a colour of its subject


class Token(NamedTuple):
    """A word, or words joined by hyphens, with its Penn tag and its offsets in the text of the caption (code points,
    half-open)."""

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


def as_plural(token: Token) -> Token:
    """The token, with tag NNS if it is a singular noun that ends like a plural: taggers miss plurals of rare words."""
    text = token.text
    if token.tag != "NN" or token.lemma or len(text) < 4 or text in lex.SINGULAR_IN_S:
        return token
    return token._replace(tag="NNS") if text.endswith("s") and not text.endswith(("ss", "us", "is")) else token


def corrected(tokens: Sequence[Token]) -> list[Token]:
    """The tokens with tags that cannot be right replaced. The tagger knows rare words from their context only.

    An adjective or adverb that is practically never a noun is none; a word that is no adjective, and has no ending of
    one, is none; after an article or a possessive there is no finite verb. Tokens of a pipeline with a lemmatizer are
    left alone.
    """
    out = list(tokens)
    for i, token in enumerate(tokens):
        text, tag = token.text, token.tag
        if tag not in _CORRECTED or token.lemma:
            continue
        if tag == "NN" or (tag == "NNP" and (not i or _tag(tokens, i + 1) in ("NN", "NNS"))):
            if text in lex.ADJECTIVES or (tag == "NNP" and i and text in lex.COLOURS):
                tag = "JJ"
            elif text == "light" and i + 1 < len(tokens) and tokens[i + 1].text in lex.COLOURS:
                tag = "JJ"
            elif text in lex.ADVERBS or (text.endswith("ly") and text not in lex.NOUNS_IN_LY and tag == "NN"):
                tag = "RB"
            elif "-" in text and (
                text.rpartition("-")[2] in lex.COLOURS
                or _tag(tokens, i + 1) == "JJ" or (_tag(tokens, i + 1) == "," and _coordinates(tokens, i + 1))
            ):
                tag = "JJ"  # "a loose-fitting white shirt"
            elif text in lex.ONLY_VERBS:
                tag = "VBP"
            elif tag == "NN" and text[-1] == "s":
                tag = as_plural(token).tag
        elif tag == "JJ":
            if text.endswith("ly") and text not in lex.ADJECTIVES and text not in lex.OTHER_ADJECTIVES:
                tag = "RB"
            elif _is_noun(text):
                follows_noun = _tag(tokens, i + 1) in NOUNS
                if not (follows_noun and (text in lex.LOOKS or text in lex.MATERIALS)):
                    tag = "NNS" if as_plural(token._replace(tag="NN")).tag == "NNS" else "NN"
            elif text in lex.OTHER_ADJECTIVES and _ends_phrase(tokens, i):
                tag = "NN"
        elif tag == "NNS":
            if singular(text) in lex.ONLY_VERBS:
                tag = "VBZ"
        elif tag in ("DT", ","):
            tag = "NN" if len(text) > (7 if tag == "DT" else 2) and text.isalpha() else tag  # "extinguisher"
        elif tag == "RB":
            copula = tokens[i - (2 if _tag(tokens, i - 1) == "RB" else 1)].text in lex.COPULAS if i > 1 else False
            if copula and text in lex.ADJECTIVES and _tag(tokens, i + 1) in (".", ",", "CC"):
                tag = "JJ"  # "are still wobbly"
            elif len(text) > 5 and text not in lex.NEVER_NOUNS and text not in lex.ONLY_VERBS and _is_noun(text):
                tag = as_plural(token._replace(tag="NN")).tag  # "graffiti", "walkways"
        elif tag == "CC":
            tag = "DT" if text == "both" and _tag(tokens, i + 1) == "NNS" else tag
        elif tag == "JJS":
            tag = "NN" if not text.endswith("st") and _is_noun(text) else tag
        elif tag == "VBN":
            if "-" in text:
                tag = "JJ"
            elif i and tokens[i - 1].text in ("a", "an") and _tag(tokens, i + 1) in FINITE:
                tag = "NN"  # "a moped is parked"
        elif i and _precedes_noun(out[i - 1], token):
            tag = "NNS" if tag == "VBZ" else "NN"
        if tag != token.tag:
            out[i] = token._replace(tag=tag)
    return out


def _ends_phrase(tokens: Sequence[Token], i: int) -> bool:
    """Whether the adjective at `i`, which may be a noun, is the noun of its phrase: "a graphic on its hood", "the
    exterior of"."""
    text, following = tokens[i].text, tokens[i + 1] if i + 1 < len(tokens) else None
    if text in lex.META or text in lex.COLOURS or text in lex.NOT_ATTRIBUTES or text in lex.NUMBERS:
        return False
    after = _tag(tokens, i + 2)
    ends = following is None or following.tag in _AFTER_PHRASE or following.text in _BE
    ends = ends or (following.tag in ("VBN", "VBG") and after not in NOUNS and after not in ADJECTIVES)
    ends = ends or (following.tag == "," and not _coordinates(tokens, i + 1))
    if not ends and following is not None:
        if not (following.tag == "NNS" and singular(following.text) in lex.VERBS):
            return False
        return _tag(tokens, i - 1) == "DT" and tokens[i - 1].text in ("a", "an") or (
            i > 1 and tokens[i - 1].tag == "JJ" and tokens[i - 2].text in ("a", "an")
        )
    j = i - 1
    while j >= 0 and tokens[j].tag in ("JJ", "JJR"):
        j -= 1
    return j >= 0 and (tokens[j].tag in ("PRP$", "POS") or tokens[j].text in ("a", "an", "the"))


def _is_noun(text: str) -> bool:
    """Whether a word that is tagged as an adjective is a noun."""
    if text in lex.ADJECTIVES or text in lex.OTHER_ADJECTIVES or text in lex.ADVERBS:
        return False
    if text in lex.COLOURS or text in lex.NUMBERS:
        return False
    if text.endswith("er") and any(stem in lex.ADJECTIVES or stem in lex.OTHER_ADJECTIVES for stem in _positives(text)):
        return False
    return len(text) > 2 and text.isascii() and text.isalpha() and not text.endswith(_ADJECTIVE_ENDINGS)


def _positives(comparative: str) -> tuple[str, ...]:
    """The adjectives that a word in -er may be the comparative of."""
    return comparative[:-2], comparative[:-1], comparative[:-3], comparative[:-3] + "y"


def _precedes_noun(token: Token, following: Token) -> bool:
    """Whether `following`, which is tagged as a finite verb or an infinitive, is a noun: no verb directly follows an
    article, a possessive, "of" or an adjective such as "golden"."""
    if following.text in lex.COPULAS or following.text in _AUXILIARIES:
        return False
    if token.tag == "PRP$" or token.text in ("a", "an", "the", "of"):
        return True
    is_singular_verb = following.tag == "VBZ" and singular(following.text) not in lex.VERBS
    return token.tag == "JJ" and is_singular_verb and (token.text in lex.ADJECTIVES or token.text in lex.COLOURS)


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
            _set_noun_role(tokens, roles, i)
        elif role == ADJECTIVE:
            if tokens[i].text in lex.NUMBERS and tokens[i].text != "single":
                roles[i] = NUMBER
            elif tokens[i].text in _SHAPES and (not i or roles[i - 1] in (DETERMINER, ADJECTIVE, NUMBER)):
                continues = _tag(tokens, i + 1) in NOUNS | ADJECTIVES or _coordinates(tokens, i + 1)
                roles[i] = ADJECTIVE if continues else NOUN  # "a red square", but "a square table"
        elif role == _PARTICIPLE:
            roles[i] = ADJECTIVE if _is_attributive(tokens, roles, i) else OTHER
        elif role == _ADVERB:
            is_degree = _tag(tokens, i + 1) in ("JJ", "VBN", "RB", "JJR") and tokens[i].text not in NEGATORS
            roles[i] = SKIP if is_degree else OTHER
        elif role == _CONJUNCTION:
            in_list = i > 0 and (roles[i - 1] == ADJECTIVE or _in_long_list(tokens, roles, i))
            roles[i] = SKIP if in_list and _coordinates(tokens, i) else OTHER
    return roles


def _tag(tokens: Sequence[Token], i: int) -> str:
    return tokens[i].tag if 0 <= i < len(tokens) else ""


def _set_noun_role(tokens: Sequence[Token], roles: list[int], i: int) -> None:
    text = tokens[i].text
    if not text[:1].isalnum() or text in lex.NEVER_NOUNS:
        roles[i] = OTHER
    elif text.endswith("ed") and len(text) > 6 and not text.endswith(_NOUN_ENDINGS_IN_ED):
        roles[i] = ADJECTIVE if _tag(tokens, i + 1) in NOUNS else OTHER
    elif text in lex.UNITS and _tag(tokens, i - 1) == "CD":
        roles[i - 1] = roles[i] = SKIP  # "a 12 oz bottle" is one
    elif text in lex.COLOURS and (_coordinates(tokens, i + 1) or _is_predicate(tokens, i)):
        roles[i] = ADJECTIVE


def _is_attributive(tokens: Sequence[Token], roles: Sequence[int], i: int) -> bool:
    """Whether the participle at `i` modifies a noun after it: "a parked car", "hold glowing phones"; but not in "a man
    and a dog riding waves"."""
    token, following, before = tokens[i], _tag(tokens, i + 1), _tag(tokens, i - 1)
    in_phrase = i > 0 and (roles[i - 1] in (DETERMINER, ADJECTIVE) or before == "POS")
    if following in (",", "CC"):
        return i > 0 and roles[i - 1] in (DETERMINER, ADJECTIVE, SKIP) and _coordinates(tokens, i + 1)
    if following not in NOUNS and following not in ADJECTIVES:
        return False
    is_modifier = in_phrase or before in _BEFORE_PARTICIPLES
    if token.tag == "VBG":
        word = tokens[i - 1].text if i else ""
        if word in _PRONOUNS_BEFORE_VERBS or before == "CD":
            return i > 1 and tokens[i - 2].tag not in (",", "CC") and before == "CD"  # "some wearing red jerseys"
        in_list = before == "," and roles[i - 1] == SKIP and not _is_predicate(tokens, i - 1)
        is_modifier = is_modifier and (before not in (",", "CC", "IN") or in_list)
        is_modifier = is_modifier or (before in FINITE and following == "NNS" and word not in _BE)
        is_modifier = is_modifier or (word in _BEFORE_ATTRIBUTIVE_ING and following == "NNS")
    elif before == "RB":
        is_modifier = i > 1 and (roles[i - 2] in (DETERMINER, ADJECTIVE, NUMBER, SKIP) or tokens[i - 2].tag == "IN")  # "a meticulously crafted model"
    return is_modifier or not before or "-" in token.text


def _in_long_list(tokens: Sequence[Token], roles: Sequence[int], i: int) -> bool:
    """Whether the "and" at `i` follows the last comma of a list of three adjectives or more: "red, blue, and white"."""
    if roles[i - 1] != SKIP or tokens[i - 1].tag != ",":
        return False
    j, commas = i - 1, 0
    while j >= 0 and roles[j] in (ADJECTIVE, SKIP):
        commas += tokens[j].tag == ","
        j -= 1
    return commas > 1 and not (j >= 0 and tokens[j].text in lex.COPULAS)


def _coordinates(tokens: Sequence[Token], i: int) -> bool:
    """Whether a comma or conjunction at `i` is followed by another adjective of the phrase: "red and white flags"."""
    j = i
    while j < len(tokens) and tokens[j].tag in (",", "CC", "RB"):
        j += 1
    if j == i or j >= len(tokens):
        return False
    token = tokens[j]
    if token.tag in ADJECTIVES or (token.text in lex.COLOURS and token.tag == "NN"):
        return True
    if tokens[i].tag != ",":
        return False
    following = _tag(tokens, j + 1)
    is_participle = token.tag in ("VBN", "VBG") or (token.tag in ("NN", "VBD") and "-" in token.text)
    return is_participle and (following in NOUNS or following in ADJECTIVES)  # "a red, double-decker bus"


def _is_predicate(tokens: Sequence[Token], i: int) -> bool:
    """Whether the colour at `i` describes a subject: "its beak is bright orange", "leaves are yellow and orange"."""
    if _tag(tokens, i + 1) in NOUNS:
        return False
    first = max(0, i - _MAX_PREDICATE)
    while i > first and (tokens[i - 1].tag in ("JJ", "RB", "CC", ",") or tokens[i - 1].text in lex.COLOURS):
        i -= 1
    return i > 0 and (tokens[i - 1].text in lex.COPULAS or tokens[i - 1].text == "painted")
