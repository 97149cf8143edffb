"""How much two texts have in common: words of facts, and sequences of words."""

from __future__ import annotations

from collections.abc import Sequence

from recaption.tasks.changes import WORD
from recaption.types import Caption

_SIZE = 3  # words of a sequence


def words_of(text: str) -> list[str]:
    """The words in lower case."""
    return WORD.findall(text.casefold())


def fact_words(caption: Caption) -> list[str]:
    """The words of the objects of a caption and of their attributes, each once, in order."""
    texts = (text for sub in caption.sub_captions for tag in sub.objects for text in (tag.text, *tag.attributes))
    return list(dict.fromkeys(word for text in texts for word in words_of(text)))


def missing_words(text: str, facts: Sequence[str]) -> list[str]:
    """The words of `facts` that the text lacks. Plural s does not count."""
    found = {_singular(word) for word in words_of(text)}
    return [word for word in facts if _singular(word) not in found]


def shared_ngrams(one: str, other: str) -> float:
    """The sequences of three words that two texts share, as a share of those of the text with fewer. 1 for equal texts.

    A text with fewer words is one sequence.
    """
    first, second = _ngrams(one), _ngrams(other)
    return len(first & second) / min(len(first), len(second))


def _ngrams(text: str) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[at : at + _SIZE]) for at in range(max(1, len(words) - _SIZE + 1))}


def _singular(word: str) -> str:
    if word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 2 else word
