"""Table `sheared`: the first complete sentence of each caption. MLLMs-Augmented calls this text shearing.

Its code cuts at the first full stop (Yanqing0327/MLLMs-Augmented, `.split('.')[0]`), which keeps openers and cuts after
"Dr.". Here, the sentence is the first sub-caption that is neither a fragment nor meta, without its opener.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import pyarrow as pa

from recaption.annotate.tagged_words import Token
from recaption.schema import column
from recaption.types import Caption, SubCaption

COLUMNS: Final = pa.schema(
    [
        column("caption_id", pa.string(), "the caption"),
        column("text", pa.string(), "caption.text[char_start:char_end]"),
        column("char_start", pa.int32(), "start of the sentence behind its opener, in code points"),
        column("char_end", pa.int32(), "end of the sentence, exclusive"),
        column("is_sheared", pa.bool_(), "the caption has more text than this"),
    ]
)


class Sheared:
    """A row for each caption with a complete sentence; `sub_id` is that of the sentence."""

    name = "sheared"
    version = "1"
    description = "the first complete sentence of each caption, without its opener"
    columns = COLUMNS

    def rows(self, sub: SubCaption, words: Sequence[Token], caption: Caption) -> Iterator[dict[str, Any]]:
        if _is_complete(sub) and not any(map(_is_complete, caption.sub_captions[: sub.idx])):
            text = caption.text[sub.content_start : sub.char_end]
            yield {
                "caption_id": caption.caption_id,
                "text": text,
                "char_start": sub.content_start,
                "char_end": sub.char_end,
                "is_sheared": len(text) < len(caption.text),
            }


def _is_complete(sub: SubCaption) -> bool:
    return not (sub.is_fragment or sub.is_meta)
