"""The phrases that a model looks for in an image, and the labels in its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from recaption.tasks.base import Inputs, sub_captions
from recaption.text import fold

Mention = tuple[str | None, int | None, int | None]
"""sub_id, and start and end of the phrase in the caption's text, in code points."""
NO_MENTION: Mention = (None, None, None)
Named = Literal["objects", "noun_phrases"]
_ARTICLES = frozenset({"a", "an", "the"})


def named(inputs: Inputs, of: Named, most: int) -> Mapping[str, Mention]:
    """The first `most` objects that captions name, each once, with the place where they are first named.

    objects: their lemmas; noun_phrases: as they are written, with the words in front of the noun.
    """
    found: dict[str, tuple[str, Mention]] = {}
    for _, sub in sub_captions(inputs):
        for tag in sub.objects:
            phrase = fold(tag.lemma if of == "objects" else tag.text)
            if phrase:
                found.setdefault(phrase.casefold(), (phrase, (sub.sub_id, tag.char_start, tag.char_end)))
    return dict(list(found.values())[:most])


def phrase_of(label: str, phrases: Sequence[str]) -> str | None:
    """The phrase that a label of the answer means; None if it is not clear.

    If there is one phrase, any label means it. Otherwise, both have to have the same words, apart from articles and
    plural s; or there is only one phrase that has all words of the label, or only words of the label.
    """
    if len(phrases) == 1:
        return phrases[0]
    words = _words(label)
    exact = [phrase for phrase in phrases if _words(phrase) == words]
    if exact or not words:
        return exact[0] if exact else None
    near = [phrase for phrase in phrases if set(_words(phrase)) <= set(words) or set(words) <= set(_words(phrase))]
    return near[0] if len(near) == 1 else None


def _words(text: str) -> list[str]:
    words = re.findall(r"\w+", text.casefold())
    return [word.removesuffix("s") for word in words if word not in _ARTICLES]
