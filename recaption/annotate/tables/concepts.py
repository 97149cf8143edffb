"""Table `concepts`: the phrases that β-CLIP contrasts with the image.

They are those of its `concepts_minimal`: noun phrases, with the place after them ("the car on the left"), verbs with a
preposition ("leaning against"), and places ("in front of", "next to"). Noun phrases come from the tags and the words in
front of them, because spaCy's `noun_chunks` need a parser. Pronouns, openers and quoted words are left out. β-CLIP's
list of a caption has each text once, noun phrases first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal

import pyarrow as pa

from recaption.annotate.tables.chunks import is_english, noun_spans, words_of
from recaption.annotate.tagged_words import BE, Token, roles_of, tag_at
from recaption.schema import column
from recaption.types import Caption, SubCaption, Tag

Kind = Literal["noun_phrase", "action", "place"]
Concept = tuple[int, int, Kind]

COLUMNS: Final = pa.schema(
    [
        column("caption_id", pa.string(), "caption of the sub-caption"),
        column("kind", pa.string(), "noun_phrase | action | place"),
        column("text", pa.string(), "caption.text[char_start:char_end]"),
        column("char_start", pa.int32(), "start in the caption's text, in code points"),
        column("char_end", pa.int32(), "end in the caption's text, exclusive"),
    ]
)
_SIDES: Final = frozenset(("left", "right", "top", "bottom", "front", "back", "middle", "center"))
_PLACES: Final = _SIDES | frozenset(
    (
        "inside",
        "outside",
        "above",
        "below",
        "under",
        "over",
        "centered",
        "frontside",
        "backside",
        "near",
        "nearby",
        "far",
    )
)
_LEFT_OUT: Final = frozenset(("the", "the image", "image"))
_ADPOSITIONS: Final = frozenset(("IN", "TO", "RP"))


class Concepts:
    """Phrases of a sub-caption, each with its span."""

    name = "concepts"
    version = "1"
    description = "phrases of a sub-caption: noun phrases, actions and places"
    columns = COLUMNS

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> Iterator[dict[str, Any]]:
        if not is_english(sub):
            return
        tokens = words_of(sub, words, caption)
        for first, end, kind in concepts(tokens, sub.tags):
            start, stop = tokens[first].start, tokens[end - 1].end
            text = caption.text[start:stop]
            if text.lower() not in _LEFT_OUT:
                row = {"caption_id": caption.caption_id, "kind": kind, "text": text}
                yield {**row, "char_start": start, "char_end": stop}


def concepts(tokens: Sequence[Token], tags: Sequence[Tag]) -> list[Concept]:
    """Spans of words `[start, end)`, in the order of the sentence."""
    found: list[Concept] = []
    for first, end, _ in noun_spans(tokens, tags, roles_of(tokens)):
        if not found or first >= found[-1][1]:  # not the side of the noun before, which it includes
            found.append((first, _with_side(tokens, end), "noun_phrase"))
    for i, token in enumerate(tokens):
        is_verb = token.tag.startswith("VB") and token.text not in BE
        if is_verb and tag_at(tokens, i + 1) in _ADPOSITIONS and tag_at(tokens, i + 2) != "VB":
            found.append((i, i + 2, "action"))
        if (place_end := _place_end(tokens, i)) is not None:
            found.append((i, place_end, "place"))
    return sorted(found)


def _with_side(tokens: Sequence[Token], end: int) -> int:
    """The end of a noun phrase, with a side after it if there is one: "a cat on the right"."""
    if tag_at(tokens, end) not in _ADPOSITIONS:
        return end
    j = end + 1
    if j < len(tokens) and tokens[j].text == "the":
        j += 1
    if j >= len(tokens) or tokens[j].text not in _SIDES:
        return end
    return j + 2 if j + 1 < len(tokens) and tokens[j + 1].text == "of" else j + 1


def _place_end(tokens: Sequence[Token], i: int) -> int | None:
    """The end of the place that begins at `i`: a preposition, a place with or without an article, and "of" if it
    follows; or "next to". None if no place begins there."""
    following = tokens[i + 1] if i + 1 < len(tokens) else None
    if following is not None and (tokens[i].text, following.text) == ("next", "to"):
        return i + 2
    if tokens[i].tag not in ("IN", "TO"):
        return None
    j = i + 2 if following is not None and following.tag == "DT" else i + 1
    if j >= len(tokens) or tokens[j].text not in _PLACES:
        return None
    return j + 2 if j + 1 < len(tokens) and tokens[j + 1].text == "of" else j + 1
