"""Changes of a sub-caption by rules, from its tags: each makes it false, and changes whole words only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import pairwise, zip_longest

from recaption.tasks.change_words import ACTIONS, ATTRIBUTES, NUMBER_VALUES, NUMBERS, OBJECTS, PLACES, RELATIONS, plural
from recaption.tasks.changes import Category, Change, changed
from recaption.tasks.tagged_sentence import Span, TaggedSentence
from recaption.types import SubCaption

_DETERMINERS = frozenset({"a", "an", "the", "its", "his", "her", "their", "two", "three", "another"})
_BEFORE_PLACES = frozenset({"the", "far", "upper", "lower", "its", "their", "his", "her"})
_SYMMETRIC = frozenset({"and", "or", "with", "beside", "near", "next", "between", "like", "of"})
_SUBJECTS = frozenset({"and", "that", "which", "who", "it", "he", "she"})
_SIDES = frozenset({"left", "right", "top", "bottom"})  # also verbs, adverbs and clothes
Known = AbstractSet[str]
WordMap = Mapping[str, Sequence[str]]


def rule_changes(sub: SubCaption, known: Known, categories: Sequence[Category], most: int) -> list[Change]:
    """At most `most` different changes, taken in turn from the categories. The same for the same arguments.

    `known` are the words of all captions of the image, in lower case. What they name may be in the image, so it does
    not replace anything.
    """
    sentence = TaggedSentence(sub)
    found = [list(_RULES[category](sentence, known)) for category in categories]
    in_turn = [change for row in zip_longest(*found) for change in row if change is not None]
    different: dict[str, Change] = {}
    for change in in_turn:
        different.setdefault(change.text.casefold(), change)
    return list(different.values())[:most]


def _replaced(
    sentence: TaggedSentence, category: Category, words: WordMap, spans: Sequence[Span], known: Known = frozenset()
) -> Iterator[Change]:
    """The words at these spans, each with one of its replacements after the other, in turn."""
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
    spans = [span for span, word in sentence.words if word in attributes and span not in heads]
    return _replaced(sentence, "attribute", ATTRIBUTES, spans, known)


def _object(sentence: TaggedSentence, known: Known) -> Iterator[Change]:
    words: dict[str, Sequence[str]] = {}
    for tag in sentence.objects:
        others = [other for other in OBJECTS.get(tag.lemma, ()) if not {other, plural(other)} & known]
        words[plural(tag.lemma) if tag.plural else tag.lemma] = [plural(o) for o in others] if tag.plural else others
    return _replaced(sentence, "object", words, [sentence.head(tag) for tag in sentence.objects])


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
            if behind and behind[0][1] in _DETERMINERS:
                behind = behind[1:]
            span = start, words[min(at + length, len(words)) - 1][0][1]
            if behind and behind[0][0][0] in starts and sentence.word(span) in RELATIONS:
                spans.append(span)
                break
    free = [span for span in spans if not any(start <= span[0] < end for start, end in sentence.in_objects)]
    return _replaced(sentence, "relation", RELATIONS, free)


def _action(sentence: TaggedSentence, known: Known) -> Iterator[Change]:
    """A verb in -ing, or one in -s behind its subject: "stands" may be a noun."""
    spans = [
        span
        for (before, subject), (span, word) in pairwise([((0, 0), ""), *sentence.words])
        if span not in sentence.in_objects
        and (word.endswith("ing") or before in sentence.in_objects or subject in _SUBJECTS)
    ]
    return _replaced(sentence, "action", ACTIONS, spans, known)


def _swap(sentence: TaggedSentence, known: Known) -> Iterator[Change]:
    """Two objects in a row exchange their nouns, unless the words between are symmetric, or their attributes."""
    for one, two in pairwise(sentence.objects):
        first, second = sentence.head(one), sentence.head(two)
        between = {word for span, word in sentence.words if first[1] <= span[0] < sentence.span(two)[0]}
        alike = (one.plural, one.count) == (two.plural, two.count) and one.lemma != two.lemma
        if alike and between - _DETERMINERS and not between & _SYMMETRIC:
            yield _exchanged(sentence, first, second)
        colours = [
            next((span for span in sentence.inside(tag)[:-1] if sentence.word(span) in ATTRIBUTES), None)
            for tag in (one, two)
        ]
        if colours[0] and colours[1] and sentence.word(colours[1]) in ATTRIBUTES[sentence.word(colours[0])]:
            yield _exchanged(sentence, colours[0], colours[1])


def _exchanged(sentence: TaggedSentence, first: Span, second: Span) -> Change:
    one, two = sentence.text[slice(*first)], sentence.text[slice(*second)]
    one = one[:1].lower() + one[1:] if first[0] == 0 else one
    return changed(sentence.text, "swap", [(*first, two), (*second, one)])


_RULES: Mapping[Category, Callable[[TaggedSentence, Known], Iterator[Change]]] = {
    "attribute": _attribute,
    "object": _object,
    "number": _number,
    "place": _place,
    "relation": _relation,
    "action": _action,
    "swap": _swap,
}
