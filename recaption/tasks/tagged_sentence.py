"""A sub-caption with the spans of its words and objects."""

from __future__ import annotations

from functools import cached_property

from recaption.quotes import quoted
from recaption.tasks.changes import WORD
from recaption.types import SubCaption, Tag

Span = tuple[int, int]
DETERMINERS = frozenset({"a", "an", "the", "its", "his", "her", "their", "two", "three", "another"})


class TaggedSentence:
    """`words` are the words of the sub-caption with their spans, in lower case, without quoted words:
    a sentence with other words on a sign is not clearly false. Spans are code points of its text."""

    def __init__(self, sub: SubCaption) -> None:
        self.sub, self.text, self.objects = sub, sub.text, sub.objects
        inside = quoted(sub.text) or bytes(len(sub.text))
        found = [match for match in WORD.finditer(sub.text) if not inside[match.start()]]
        self.words = [(match.span(), match.group().casefold()) for match in found]

    def span(self, tag: Tag) -> Span:
        return tag.char_start - self.sub.char_start, tag.char_end - self.sub.char_start

    def inside(self, tag: Tag) -> list[Span]:
        """The words of a tag."""
        start, end = self.span(tag)
        return [span for span, _ in self.words if start <= span[0] and span[1] <= end]

    def head(self, tag: Tag) -> Span | None:
        """The last word of a tag; None if the word continues after the tag, as "dog's" does."""
        end = self.span(tag)[1]
        return next((span for span in self.inside(tag) if span[1] == end), None)

    def name(self, tag: Tag) -> Span | None:
        """The words of a tag that are its lemma, such as "traffic light"; None if the last word continues
        beyond the tag."""
        head, words = self.head(tag), self.inside(tag)
        length = len(tag.lemma.split())
        return (words[-length][0], head[1]) if head is not None and length <= len(words) else None

    def word(self, span: Span) -> str:
        return self.text[slice(*span)].casefold()

    @cached_property
    def in_others(self) -> frozenset[Span]:
        """The words of tags that are not objects, as in "no red cars"."""
        others = [tag for tag in self.sub.tags if tag.kind != "object"]
        return frozenset(span for tag in others for span in self.inside(tag))

    @cached_property
    def in_objects(self) -> frozenset[Span]:
        return frozenset(span for tag in self.objects for span in self.inside(tag))
