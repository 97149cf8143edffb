"""Table `attribute_pairs`: pairs of an object and an attribute, as in the scene graphs of Structure-CLIP.

The pairs are those of the tags. The table adds the span of each attribute in the caption.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from recaption.annotate.tagged_words import Token, join_hyphens
from recaption.schema import column
from recaption.types import Caption, SubCaption, Tag

COLUMNS: Final = pa.schema(
    [
        column("caption_id", pa.string(), "caption of the sub-caption"),
        column("object", pa.string(), "lemma of the object, with its compound"),
        column("object_start", pa.int32(), "start of the object's tag in the caption's text, in code points"),
        column("object_end", pa.int32(), "its end, exclusive"),
        column("attribute", pa.string(), "the attribute in lower case"),
        column("attribute_start", pa.int32(), "start of the attribute in the caption's text, in code points"),
        column("attribute_end", pa.int32(), "its end, exclusive"),
    ]
)
Span = tuple[int, int]
_MAX_LOOK: Final = 20  # occurrences of a word that are tried, so that time is linear in the length of a sentence


class AttributePairs:
    """A row for each attribute of each object that is present."""

    name = "attribute_pairs"
    version = "1"
    description = "objects of a sub-caption with one of their attributes each"
    columns = COLUMNS

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> Iterator[dict[str, Any]]:
        if not any(tag.attributes for tag in sub.objects):
            return
        places = _Places(join_hyphens(words), sub.tags)
        for tag in sub.objects:
            for attribute in tag.attributes:
                start, end = places.of(attribute, tag)
                yield {
                    "caption_id": caption.caption_id,
                    "object": tag.lemma,
                    "object_start": tag.char_start,
                    "object_end": tag.char_end,
                    "attribute": attribute,
                    "attribute_start": start,
                    "attribute_end": end,
                }


class _Places:
    """The spans of the words of a sentence."""

    def __init__(self, tokens: Sequence[Token], tags: Sequence[Tag]) -> None:
        self._tokens = tokens
        self._at: dict[str, list[int]] = {}  # word -> its indices
        for i, token in enumerate(tokens):
            self._at.setdefault(token.text, []).append(i)
        self._tagged = [range(tag.char_start, tag.char_end) for tag in tags]
        self._starts = [tag.char_start for tag in tags]

    def of(self, attribute: str, tag: Tag) -> Span:
        """The span of this attribute, by preference: within the tag; after it and in no other tag ("the car is red");
        after it ("the car and the bus are a dark red"); before it ("short hair and beard"). Of several, the nearest
        one."""

        def order(span: Span) -> tuple[bool, bool, bool, int]:
            is_own = tag.char_start <= span[0] < tag.char_end
            return not is_own, span[0] < tag.char_end, self._is_tagged(span[0]), abs(span[0] - tag.char_start)

        return min(self._spans(attribute.split(), tag.char_start), key=order)

    def _spans(self, words: Sequence[str], near: int) -> Iterator[Span]:
        """The spans in which these words follow each other, among the occurrences nearest to an offset."""
        found = self._at.get(words[0], [])
        middle = bisect_left(found, near, key=lambda i: self._tokens[i].start)
        for i in found[max(0, middle - _MAX_LOOK) : middle + _MAX_LOOK]:
            row = self._tokens[i : i + len(words)]
            if [token.text for token in row] == list(words):
                yield row[0].start, row[-1].end

    def _is_tagged(self, offset: int) -> bool:
        at = bisect_right(self._starts, offset) - 1
        return at >= 0 and offset in self._tagged[at]
