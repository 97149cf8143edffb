"""A sub-caption with the spans of its words and objects."""

from __future__ import annotations

from functools import cached_property

from recaption.tasks.changes import WORD
from recaption.types import SubCaption, Tag

Span = tuple[int, int]
DETERMINERS = frozenset({"a", "an", "the", "its", "his", "her", "their", "two", "three", "another"})


class TaggedSentence:
    """`words` are all words of the sub-caption with their spans, in lower case. Spans are code points of its text."""

    def __init__(self, sub: SubCaption) -> None:
        self.sub, self.text, self.objects = sub, sub.text, sub.objects
        self.words = [(match.span(), match.group().casefold()) for match in WORD.finditer(sub.text)]

    def span(self, tag: Tag) -> Span:
        return tag.char_start - self.sub.char_start, tag.char_end - self.sub.char_start

    def inside(self, tag: Tag) -> list[Span]:
        """The words of a tag."""
        start, end = self.span(tag)
        return [span for span, _ in self.words if start <= span[0] and span[1] <= end]

    def head(self, tag: Tag) -> Span | None:
        """The last word of a tag; None if it goes on behind the tag, as "dog's" does."""
        end = self.span(tag)[1]
        return next((span for span in self.inside(tag) if span[1] == end), None)

    def word(self, span: Span) -> str:
        return self.text[slice(*span)].casefold()

    @cached_property
    def in_objects(self) -> frozenset[Span]:
        return frozenset(span for tag in self.objects for span in self.inside(tag))
