"""Captions of the gallery, cut into runs that the page marks.

Offsets count code points, so texts are cut here and never in the browser, whose strings count UTF-16 units."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

_KEPT = "\n\t\u200c\u200d"  # line ends, and joiners, which some scripts and emoji need


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A piece of a run. `tag` is the index of its tag; `opener` is true for boilerplate."""

    text: str
    tag: int | None = None
    opener: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRun:
    """Consecutive text within one sub-caption, or outside all of them (`sub` None).

    A sub-caption with another one inside it has several runs; `first` is true only for the first of them.
    """

    sub: int | None
    first: bool
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """Code points [start, end) of a caption; `content` is where a sub-caption's boilerplate opener ends."""

    start: int
    end: int
    content: int | None = None


def cut(text: str, subs: Sequence[Span], tags: Sequence[Span]) -> tuple[TextRun, ...]:
    """The text as runs, in order.

    Spans may overlap, be empty or exceed the text: of overlapping sub-captions the shortest is used, of tags the
    longest; parts beyond the text are left out.
    """
    size = len(text)
    ends = {0, size}
    for span in (*subs, *tags):
        ends |= {_within(span.start, size), _within(span.end, size)}
    ends |= {_within(span.content, size) for span in subs if span.content is not None}
    at = sorted(ends)
    place = {offset: n for n, offset in enumerate(at)}
    sub_of = _paint(subs, place, size, longest_first=True)
    tag_of = _paint(tags, place, size, longest_first=False)
    runs: list[TextRun] = []
    seen: set[int] = set()
    parts: list[Part] = []
    for n, (start, end) in enumerate(pairwise(at)):
        sub = sub_of[n]
        opener = sub is not None and end <= (subs[sub].content or 0)
        parts.append(Part(text=text[start:end], tag=tag_of[n], opener=opener))
        if n + 2 == len(at) or sub_of[n + 1] != sub:
            runs.append(TextRun(sub=sub, first=sub is not None and sub not in seen, parts=tuple(parts)))
            seen |= set() if sub is None else {sub}
            parts = []
    return tuple(runs)


def _paint(spans: Sequence[Span], place: dict[int, int], size: int, *, longest_first: bool) -> list[int | None]:
    """The span of each piece of text. Later spans overwrite earlier ones."""
    owner: list[int | None] = [None] * len(place)
    sign = -1 if longest_first else 1
    for n in sorted(range(len(spans)), key=lambda n: (sign * (spans[n].end - spans[n].start), n)):
        first, last = place[_within(spans[n].start, size)], place[_within(spans[n].end, size)]
        if first < last:
            owner[first:last] = [n] * (last - first)
    return owner


def _within(offset: int, size: int) -> int:
    return min(max(offset, 0), size)


def visible(text: str) -> str:
    """The text with control characters, direction overrides and zero-width characters written as ⟨U+202E⟩."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(text))


def _shown(text: str) -> Iterable[str]:
    for c in text:
        hidden = c not in _KEPT and unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        yield f"⟨U+{ord(c):04X}⟩" if hidden else c
