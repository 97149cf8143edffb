"""How much two texts have in common: words of facts, and sequences of words."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise

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


def attribute_pairs(caption: Caption) -> list[tuple[str, str]]:
    """The attributes of the objects of a caption, each with the noun of its object, once and in order."""
    tags = (tag for sub in caption.sub_captions for tag in sub.objects)
    pairs = ((word, noun) for tag in tags for noun in words_of(tag.text)[-1:] for word in tag.attributes)
    return list(dict.fromkeys((word, noun) for text, noun in pairs for word in words_of(text)[-1:]))


def moved_attribute(text: str, pairs: Collection[Sequence[str]]) -> str | None:
    """An attribute in front of the noun of another object, such as "blue dog" if a dog and a blue kite were named.

    None: there is none. Plural s does not count.
    """
    allowed = {(attribute, _singular(noun)) for attribute, noun in pairs}
    attributes, nouns = {attribute for attribute, _ in allowed}, {noun for _, noun in allowed}
    found = ((first, _singular(second)) for first, second in pairwise(words_of(text)))
    wrong = (pair for pair in found if pair[0] in attributes and pair[1] in nouns and pair not in allowed)
    return next((f"{attribute} {noun}" for attribute, noun in wrong), None)


def shared_ngrams(one: str, other: str) -> float:
    """The number of three-word sequences in both texts, divided by that of the text with fewer. 1 for equal texts.

    A text of one or two words counts as one sequence.
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
