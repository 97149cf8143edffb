"""Sub-captions with tags at their places in the text. Nothing here needs a tagger."""

from __future__ import annotations

from typing import Any

from recaption.types import SubCaption, Tag

START = 7  # of the sub-caption in its caption


def sub(text: str, *tags: Tag) -> SubCaption:
    placed = []
    for tag in tags:
        start = START + text.index(tag.text)
        placed.append(Tag(**{**_fields(tag), "char_start": start, "char_end": start + len(tag.text)}))
    end = START + len(text)
    return SubCaption(
        sub_id="k/long/0#0", idx=0, text=text, char_start=START, char_end=end, n_words=1, content_start=START,
        tags=tuple(placed),
    )  # fmt: skip


def _fields(tag: Tag) -> dict[str, Any]:
    return {name: getattr(tag, name) for name in Tag.__dataclass_fields__}


def thing(text: str, *attributes: str, lemma: str | None = None, **more: Any) -> Tag:
    lemma = lemma or text.split()[-1]
    return Tag(lemma=lemma, text=text, char_start=0, char_end=0, attributes=attributes, **{"count": 1, **more})
