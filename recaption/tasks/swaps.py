"""Two objects of a sub-caption change places, or their attributes do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from itertools import pairwise

from recaption.tasks.change_words import ATTRIBUTES
from recaption.tasks.changes import Change, changed
from recaption.tasks.tagged_sentence import DETERMINERS, Span, TaggedSentence

_SYMMETRIC = frozenset({"and", "or", "with", "beside", "near", "next", "between", "like", "of", "including", "that"})
_FAR = re.compile(r"[,;:()]|(?:\s+[^\s]+){5,}")  # between two objects that do not describe each other


def swaps(sentence: TaggedSentence, known: Set[str]) -> Iterator[Change]:
    """Neighbouring objects exchange their attributes. They exchange their nouns if the words between are not
    symmetric."""
    for one, two in pairwise(sentence.objects):
        first, second = sentence.name(one), sentence.name(two)
        if first is None or second is None or _FAR.search(sentence.text, first[1], sentence.span(two)[0]):
            continue
        between = {word for span, word in sentence.words if first[1] <= span[0] < sentence.span(two)[0]}
        alike = (one.plural, one.count) == (two.plural, two.count) and one.lemma != two.lemma
        if alike and between - DETERMINERS and not between & _SYMMETRIC:
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
