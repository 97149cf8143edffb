"""Changes a sub-caption by rules that use its tags. Each change makes it false and replaces whole words only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise, zip_longest

from recaption.tasks.change_words import (
    ACTIONS,
    ANIMATE,
    ATTRIBUTES,
    NUMBER_VALUES,
    NUMBERS,
    OBJECTS,
    PLACES,
    RELATIONS,
    plural,
)
from recaption.tasks.changes import Category, Change, changed
from recaption.tasks.swaps import swaps
from recaption.tasks.tagged_sentence import DETERMINERS, Span, TaggedSentence
from recaption.types import SubCaption

VERSION = "2"
"""Version of the rules. Enters the build fingerprint: raise it whenever the rules may make other changes."""
_BEFORE_PLACES = frozenset({"the", "far", "upper", "lower", "its", "their", "his", "her"})
_IS_PART = re.compile(r"\s+of\b", re.IGNORECASE)  # a bed of flowers
_SUBJECTS = frozenset({"and", "that", "which", "who", "it", "he", "she"})
_SIDES = frozenset({"left", "right", "top", "bottom"})  # also verbs, adverbs and clothes
Known = AbstractSet[str]
WordMap = Mapping[str, Sequence[str]]


def rule_changes(sub: SubCaption, known: Known, categories: Sequence[Category], most: int) -> list[Change]:
    """At most `most` different changes, taken in turn from the categories. The same for the same arguments.

    `known` are the words of all captions of the image, in lower case. The image may show what they name, so none of
    them replaces another word.
    """
    sentence = TaggedSentence(sub)
    found = [list(_RULES[category](sentence, known)) for category in categories]
    in_turn = [change for row in zip_longest(*found) for change in row if change is not None]
    different: dict[str, Change] = {}
    for change in in_turn:
        different.setdefault(change.text.casefold(), change)
    different.pop(sub.text.casefold(), None)
    return list(different.values())[:most]


def _replaced(
    sentence: TaggedSentence, category: Category, words: WordMap, spans: Sequence[Span], known: Known = frozenset()
) -> Iterator[Change]:
    """Changes of the word at one of `spans`: one replacement for each span, then another one for each, and so on."""
    rows: list[list[Change]] = []
    for span in spans:
        others = [other for other in words.get(sentence.word(span), ()) if other not in known]
        digest = hashlib.sha256(f"{sentence.text}/{span[0]}".encode()).digest()
        shift = int.from_bytes(digest[:4], "little") % max(1, len(others))  # not always the first words of a class
        rows.append([changed(sentence.text, category, [(*span, other)]) for other in others[shift:] + others[:shift]])
    for row in zip_longest(*rows):
        yield from (change for change in row if change is not None)


def _attribute(sentence: TaggedSentence, known: Known) -> Iterator[Change]:
    attributes = {word for tag in sentence.objects for attribute in tag.attributes for word in attribute.split()}
    heads = {sentence.head(tag) for tag in sentence.objects}
    free = [(span, word) for span, word in sentence.words if span not in heads | sentence.in_others]
    spans = [span for span, word in free if word in attributes]
    return _replaced(sentence, "attribute", ATTRIBUTES, spans, known)


def _object(sentence: TaggedSentence, known: Known) -> Iterator[Change]:
    words: dict[str, Sequence[str]] = {}
    for tag in sentence.objects:
        others = [other for other in OBJECTS.get(tag.lemma, ()) if not {other, plural(other)} & known]
        words[plural(tag.lemma) if tag.plural else tag.lemma] = [plural(o) for o in others] if tag.plural else others
    heads = [head for tag in sentence.objects if tag.lemma in OBJECTS and (head := sentence.head(tag))]
    spans = [head for head in heads if not _IS_PART.match(sentence.text, head[1])]
    return _replaced(sentence, "object", words, spans)


def _number(sentence: TaggedSentence, known: Known) -> Iterator[Change]:
    counts = {tag.count for tag in sentence.objects if tag.plural and tag.count is not None}
    spans = [span for span, word in sentence.words if NUMBER_VALUES.get(word) in counts]
    return _replaced(sentence, "number", NUMBERS, spans, known)


def _place(sentence: TaggedSentence, known: Known) -> Iterator[Change]:
    spans = [
        span
        for (_, before), (span, word) in pairwise([((0, 0), ""), *sentence.words])
        if span not in sentence.in_objects and (word not in _SIDES or before in _BEFORE_PLACES)
    ]
    return _replaced(sentence, "place", PLACES, spans)


def _relation(sentence: TaggedSentence, known: Known) -> Iterator[Change]:
    """A relation is followed by an object, at most with a determiner between."""
    words, starts = sentence.words, {sentence.span(tag)[0] for tag in sentence.objects}
    spans: list[Span] = []
    for at, ((start, _), _) in enumerate(words):
        for length in (3, 2, 1):  # the longest relation that begins here
            behind = words[at + length : at + length + 2]
            if behind and behind[0][1] in DETERMINERS:
                behind = behind[1:]
            span = start, words[min(at + length, len(words)) - 1][0][1]
            if behind and behind[0][0][0] in starts and sentence.word(span) in RELATIONS:
                spans.append(span)
                break
    free = [span for span in spans if not any(start <= span[0] < end for start, end in sentence.in_objects)]
    return _replaced(sentence, "relation", RELATIONS, free)


def _action(sentence: TaggedSentence, known: Known) -> Iterator[Change]:
    """Beside a person or an animal: verbs in -ing, and verbs in -s after their subject ("stands" may be a noun)."""
    if ANIMATE.isdisjoint(tag.lemma for tag in sentence.objects):
        return iter(())
    spans = [
        span
        for (before, subject), (span, word) in pairwise([((0, 0), ""), *sentence.words])
        if span not in sentence.in_objects
        and (word.endswith("ing") or before in sentence.in_objects or subject in _SUBJECTS)
    ]
    return _replaced(sentence, "action", ACTIONS, spans, known)


_RULES: Mapping[Category, Callable[[TaggedSentence, Known], Iterator[Change]]] = {
    "attribute": _attribute,
    "object": _object,
    "number": _number,
    "place": _place,
    "relation": _relation,
    "action": _action,
    "swap": swaps,
}
