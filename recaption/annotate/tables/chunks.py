"""Splits a sub-caption into chunks: noun phrases by its tags, verb groups and prepositions by Penn tags."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final, Literal

from recaption.annotate import lexicon as lex
from recaption.annotate.corrected_tags import corrected
from recaption.annotate.lemma import singular
from recaption.annotate.tagged_words import (
    ADJECTIVE,
    BE,
    DETERMINER,
    FINITE,
    NEGATORS,
    NOUN,
    NUMBER,
    SKIP,
    Token,
    join_hyphens,
    roles_of,
)
from recaption.quotes import quoted
from recaption.types import Caption, SubCaption, Tag

Kind = Literal["noun", "verb", "preposition", "relative", "comma", "and", "predicate", "break"]

_BEFORE_NOUN: Final = frozenset((DETERMINER, NUMBER, ADJECTIVE, SKIP))
_AUXILIARIES: Final = BE | {"has", "have", "had", "do", "does", "did"}
_LINKS: Final = frozenset(("appear", "appears", "seem", "seems", "looks"))  # "appears to be covered by"
_SEEN: Final = frozenset(("seen", "shown", "captured", "pictured", "visible", "depicted", "displayed", "featured"))
_PARTICLES: Final = frozenset(("up", "down", "back", "out", "together", "off", "away", "apart"))
_SUBORDINATORS: Final = frozenset(
    ("while", "whereas", "although", "though", "because", "as", "that", "if", "than", "like", "since", "so", "until")
)
_PREPOSITIONS: Final = frozenset(
    ("amid", "amidst", "atop", "onto", "beneath", "beside", "alongside", "underneath", "toward", "towards", "into")
)
"""Words that are always prepositions. Taggers mistake rare ones for nouns."""
_WITH_TO: Final = frozenset(("next", "adjacent", "close", "parallel", "perpendicular", "opposite", "closer", "nearer"))
"""Adjectives and adverbs that form a preposition with "to"."""
_MAX_LOOK: Final = 40  # words or chunks to look ahead or back, so that time is linear in the length of a sentence
_BEHIND_VERB: Final = frozenset(("IN", "RB", "DT", "TO", "PRP$"))
_ALWAYS_PARTS: Final = frozenset(("side", "edge", "front", "middle", "center", "centre", "corner", "end", "portion"))
_PARTS: Final = _ALWAYS_PARTS | frozenset(
    ("top", "bottom", "back", "left", "right", "part", "half", "rest", "length", "backdrop", "foreground", "background",
     "section", "piece", "rear", "outskirts", "midst", "display", "set", "couple", "layer", "scattering", "dollop")
)  # fmt: skip

PLACES: Final = _PARTS | {"distance", "frame", "image", "brim", "waist"}
"""Words for places in the picture. In "in the distance behind the car", "behind" does not describe the distance."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Words `[start, end)` of a sub-caption, by index.

    noun: `tag` is None for a pronoun, and for nouns without a tag. verb: `start` is the main verb; `is_bare`: there is
    no main verb, only a copula or an auxiliary. predicate: an adjective after a copula.
    """

    kind: Kind
    start: int
    end: int
    tag: Tag | None = None
    is_bare: bool = False
    is_finite: bool = False
    is_denied: bool = False
    is_owned: bool = False  # noun: with "its", "their", …


def is_english(sub: SubCaption) -> bool:
    """Whether the rules of these tables apply to the sub-caption."""
    return (sub.lang or "en").partition("-")[0] == "en"


def words_of(sub: SubCaption, words: Sequence[Token], caption: Caption) -> list[Token]:
    """The words after an opener and outside quotes, with corrected tags and joined hyphens."""
    inside = quoted(sub.text)
    kept = [
        word
        for word in words
        if word.start >= sub.content_start and (inside is None or not inside[word.start - sub.char_start])
    ]
    tokens = corrected(join_hyphens(kept))
    return [replace(token, tag="IN") if token.text in _PREPOSITIONS else token for token in tokens]


def noun_spans(tokens: Sequence[Token], tags: Sequence[Tag], roles: Sequence[int]) -> Iterator[tuple[int, int, Tag]]:
    """The words `[start, end)` of each tag, with the words in front of its nouns ("the two old")."""
    starts = [token.start for token in tokens]
    heads = {bisect_left(starts, tag.char_end) - 1 for tag in tags}
    behind = 0
    for tag in tags:
        first, end = bisect_left(starts, tag.char_start), bisect_left(starts, tag.char_end)
        while first > behind and (roles[first - 1] in _BEFORE_NOUN or roles[first - 1] == NOUN):
            first -= 1
        while end < len(tokens) and roles[end] == NOUN and end not in heads and not _is_verb_form(tokens, end):
            end += 1  # "a street scene" is tagged as a street
        if end > first:
            yield first, end, tag
            behind = end


def chunks_of(tokens: Sequence[Token], tags: Sequence[Tag]) -> list[Chunk]:
    """The chunks of a sentence in order. Words without a role, such as adverbs, are in no chunk."""
    roles = roles_of(tokens)
    spans = {first: (end, tag) for first, end, tag in noun_spans(tokens, tags, roles)}
    nouns = spans.keys()
    chunks: list[Chunk] = []
    i = 0
    while i < len(tokens):
        if i in spans and _is_verb_behind_comma(tokens, i, spans[i][0], chunks):
            chunks.append(_verb(tokens, roles, i, nouns, main=i))
            end = chunks[-1].end
        elif i in spans:
            end, tag = spans[i]
            is_owned = any(tokens[k].tag in ("PRP$", "POS", "WP$") for k in range(i, end))
            chunks.append(Chunk("noun", i, end, tag=tag, is_owned=is_owned))
        else:
            chunk = _chunk(tokens, roles, i, nouns)
            end = i + 1 if chunk is None else chunk.end
            if chunk is not None and chunk.kind == "verb" and _is_listed_adjective(tokens, roles, i, chunks):
                chunk, end = None, i + 2
            if chunk is not None:
                chunks.append(chunk)
        i = end
    return chunks


def simplified(chunks: Sequence[Chunk], tokens: Sequence[Token]) -> list[Chunk]:
    """The chunks, with compound prepositions merged ("on the left side of"), and without measures and parts in front of
    "of": "a row of trees" and "the edge of the table" stand for the trees and the table."""
    out: list[Chunk] = []
    for chunk in chunks:
        before = out[-1] if out else None
        if chunk.kind == "preposition" and before is not None and before.end == chunk.start:
            if before.kind == "preposition":
                out[-1] = replace(before, end=chunk.end)
                continue
            if before.kind == "noun" and tokens[chunk.start].text == "of" and _is_part(before, tokens):
                out.pop()
                outer = out[-1] if out else None
                is_place = before.tag is None or before.tag.kind != "measure"
                if is_place and outer is not None and outer.kind == "preposition" and outer.end == before.start:
                    out[-1] = replace(outer, end=chunk.end)
                continue
        out.append(chunk)
    return out


def _is_part(noun: Chunk, tokens: Sequence[Token]) -> bool:
    """Whether the noun with "of" stands for the noun after it: "a row of trees", "the top of the table"."""
    if noun.tag is not None and noun.tag.kind == "measure":
        return True
    head = singular(tokens[noun.end - 1].text)
    return head in _PARTS and (noun.tag is None or noun.tag.kind != "object" or head in _ALWAYS_PARTS)


def _chunk(tokens: Sequence[Token], roles: Sequence[int], i: int, nouns: Set[int]) -> Chunk | None:
    """The chunk at `i`, where no tagged noun phrase begins."""
    text, tag = tokens[i].text, tokens[i].tag
    following = tokens[i + 1] if i + 1 < len(tokens) else None
    if roles[i] in _BEFORE_NOUN and tag not in (",", "CC") and _is_noun_next(roles, i):
        return None
    if tag == "DT" and i + 1 < len(roles) and roles[i + 1] == ADJECTIVE:
        return None  # "a lighter green"
    if roles[i] == NOUN and i and roles[i - 1] == NOUN and _is_verb_form(tokens, i):
        return _verb(tokens, roles, i, nouns, main=i)
    if following is not None and following.text == "to" and text in _WITH_TO:
        return Chunk("preposition", i, i + 2)
    if following is not None and (text, following.text) in (("along", "with"), ("away", "from"), ("out", "of")):
        return Chunk("preposition", i, i + 2)
    if [token.text for token in tokens[i : i + 3]] == ["as", "well", "as"]:
        return Chunk("and", i, i + 3)
    if tag.startswith("VB") or tag == "MD" or (tag == "TO" and following is not None and following.tag == "VB"):
        return _verb(tokens, roles, i, nouns)
    if tag in ("WDT", "WP") or (text in ("that", "which", "who") and tag in ("IN", "DT") and _is_verb(following)):
        return Chunk("relative", i, i + 1)
    if tag in ("IN", "TO"):
        return Chunk("break" if text in _SUBORDINATORS else "preposition", i, i + 1)
    if tag == ",":
        return Chunk("comma", i, i + 1)
    if tag == "CC" or text == "&":
        return Chunk("and", i, i + 1)
    if tag in (":", "-LRB-", "-RRB-", "WRB", ".") or text in (";", "—", "–"):
        return Chunk("break", i, i + 1)
    if roles[i] == ADJECTIVE:
        is_participle = text.endswith("ed") or text in lex.PARTICIPLES
        return Chunk("verb" if is_participle and _is_relation_next(tokens, i + 1) else "predicate", i, i + 1)
    if roles[i] == NOUN or tag in ("PRP", "EX") or (tag in ("DT", "CD") and not _is_noun_next(roles, i)):
        return None if tag == "EX" else Chunk("noun", i, i + 1)
    return None


def _is_noun_next(roles: Sequence[int], i: int) -> bool:
    """Whether a noun follows the determiner or number at `i`."""
    j = i + 1
    while j < min(len(roles), i + _MAX_LOOK) and roles[j] in _BEFORE_NOUN:
        j += 1
    return j < len(roles) and roles[j] == NOUN


def _is_verb_form(tokens: Sequence[Token], i: int) -> bool:
    """Whether the word at `i`, tagged as a noun, is the verb of the noun before it: "the sun shines"."""
    if tokens[i].tag == "NNS":
        return tokens[i - 1].tag in ("NN", "NNP") and singular(tokens[i].text) in lex.VERBS
    return tokens[i - 1].tag == "NNS" and tokens[i].text in lex.VERBS


def _is_verb_behind_comma(tokens: Sequence[Token], i: int, end: int, chunks: Sequence[Chunk]) -> bool:
    """Whether the single noun at `i` is the verb of a clause that has no other: "The trees, tall and old, reach up"."""
    following = tokens[end].tag if end < len(tokens) else ""
    if end - i != 1 or not chunks or chunks[-1].kind != "comma" or following not in _BEHIND_VERB:
        return False
    is_verb = (singular(tokens[i].text) if tokens[i].tag == "NNS" else tokens[i].text) in lex.VERBS
    kinds = {"finite" if chunk.is_finite else chunk.kind for chunk in chunks[-_MAX_LOOK:]} if is_verb else ()
    return "noun" in kinds and "finite" not in kinds and "break" not in kinds


def _is_listed_adjective(tokens: Sequence[Token], roles: Sequence[int], i: int, chunks: Sequence[Chunk]) -> bool:
    """Whether the participle at `i` is the first of several adjectives: "of elongated, oval carvings"."""
    if not chunks or chunks[-1].kind != "preposition" or chunks[-1].end != i or i + 2 >= len(tokens):
        return False
    return tokens[i + 1].tag == "," and roles[i + 2] == ADJECTIVE


def _is_verb(token: Token | None) -> bool:
    return token is not None and (token.tag.startswith("VB") or token.tag in ("MD", "RB"))


def _is_relation_next(tokens: Sequence[Token], i: int) -> bool:
    """Whether the participle before `i` has a complement: "seated at", "tied back in"."""
    while i < len(tokens) and (tokens[i].tag in ("RB", "RP") or tokens[i].text in _PARTICLES):
        i += 1
    return i < len(tokens) and tokens[i].tag in ("IN", "TO")


def _verb(tokens: Sequence[Token], roles: Sequence[int], i: int, nouns: Set[int], main: int = -1) -> Chunk:
    """The verb group that begins at `i`: auxiliaries, its main verb, and the adverbs and particles after it.

    `main` is `i` for a verb that is tagged as a noun.
    """
    is_finite = main == i or tokens[i].tag in FINITE or tokens[i].tag == "VB"
    j, is_denied = max(i, main + 1), False
    while j < len(tokens) and j not in nouns:
        token = tokens[j]
        is_denied = is_denied or token.text in NEGATORS
        is_participle = roles[j] == ADJECTIVE and token.text.endswith("ed") and _is_relation_next(tokens, j + 1)
        if token.tag.startswith("VB") or is_participle:
            if token.text not in _AUXILIARIES and token.text not in _LINKS:
                main = j
        elif token.tag not in ("MD", "RB", "RBR", "RP") and token.text not in _PARTICLES:
            is_infinitive = token.tag == "TO" and j + 1 < len(tokens) and tokens[j + 1].tag == "VB"
            if not is_infinitive:
                break
        j += 1
    if main >= 0 and tokens[main].text in _SEEN and main == j - 1 and main > i:
        return Chunk("verb", i, j, is_bare=True, is_finite=is_finite, is_denied=is_denied)
    if main < 0:
        has = [k for k in range(i, j) if tokens[k].text in ("has", "have", "had")]
        if not has:
            return Chunk("verb", i, j, is_bare=True, is_finite=is_finite, is_denied=is_denied)
        main = has[-1]
    return Chunk("verb", main, j, is_finite=is_finite, is_denied=is_denied)
