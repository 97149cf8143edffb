"""Table `attribute_pairs`: objects with one attribute each, as Structure-CLIP's scene graphs have them.

The pairs are those of the tags; here each attribute has its place in the caption.
"""

from __future__ import annotations

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


class AttributePairs:
    """A row for each attribute of each object that is present."""

    name = "attribute_pairs"
    version = "1"
    description = "objects of a sub-caption with one of their attributes each"
    columns = COLUMNS

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> Iterator[dict[str, Any]]:
        if not any(tag.attributes for tag in sub.objects):
            return
        tokens = join_hyphens(words)
        for tag in sub.objects:
            for attribute in tag.attributes:
                start, end = _place(attribute, tag, tokens, sub.tags)
                yield {
                    "caption_id": caption.caption_id,
                    "object": tag.lemma,
                    "object_start": tag.char_start,
                    "object_end": tag.char_end,
                    "attribute": attribute,
                    "attribute_start": start,
                    "attribute_end": end,
                }


def _place(attribute: str, tag: Tag, tokens: Sequence[Token], tags: Sequence[Tag]) -> Span:
    """Where the sentence gives this attribute: in the tag, else behind it in no other tag ("the car is red"), else
    behind it ("the car and the bus are a dark red"), else nearest before it ("short hair and beard")."""
    words = attribute.split()
    spans = [
        (tokens[i].start, tokens[i + len(words) - 1].end)
        for i in range(len(tokens) - len(words) + 1)
        if [token.text for token in tokens[i : i + len(words)]] == words
    ]

    def order(span: Span) -> tuple[bool, bool, bool, int]:
        is_own = tag.char_start <= span[0] < tag.char_end
        is_others = any(other.char_start <= span[0] < other.char_end for other in tags)
        return not is_own, span[0] < tag.char_end, is_others, abs(span[0] - tag.char_start)

    return min(spans, key=order)
