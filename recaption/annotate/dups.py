"""Sentences of one image that say the same again, within a caption or across captions.

Two are the same when their content words are, in order: case, punctuation, openers and articles do not count, but
numbers, places and negations do ("to the left of the dog" is not "to the right of the dog"). They are nearly the same
when one has the other's words in order and at most a tenth more. Only those that begin or end alike are compared,
so the time is linear.
"""

from __future__ import annotations

import re

from recaption.annotate.words import words

_WORD = re.compile(r"[^\W_]+")
_EMPTY = frozenset(
    words("""
    a an the and also is are was were be been being it its this that these those there here which who of to has have
    very quite some can seen visible appears seems we see image picture photo
    """)
)
_MIN_NEAR = 10  # content words: in shorter ones a word more says something else
_BUCKET = 16


class Seen:
    """The sentences of one image so far."""

    def __init__(self) -> None:
        self._exact: dict[tuple[str, ...], str] = {}
        self._near: dict[tuple[str, str], list[tuple[tuple[str, ...], str]]] = {}

    def add(self, sub_id: str, content: str) -> str | None:
        """The sub_id of the earlier sentence that this one repeats, if any; else it is remembered."""
        words = tuple(_WORD.findall(content.casefold()))
        key = tuple(word for word in words if word not in _EMPTY) or words
        if not key:
            return None
        earlier = self._exact.get(key) or self._nearly(key)
        if earlier is None:
            self._exact[key] = sub_id
            if len(key) >= _MIN_NEAR - 1:
                for bucket in (("first", " ".join(key[:2])), ("last", " ".join(key[-2:]))):
                    entries = self._near.setdefault(bucket, [])
                    if len(entries) < _BUCKET:
                        entries.append((key, sub_id))
        return earlier

    def _nearly(self, key: tuple[str, ...]) -> str | None:
        if len(key) < _MIN_NEAR - 1:
            return None
        for bucket in (("first", " ".join(key[:2])), ("last", " ".join(key[-2:]))):
            for other, sub_id in self._near.get(bucket, ()):
                short, long = sorted((key, other), key=len)
                if len(long) >= _MIN_NEAR and len(long) - len(short) <= len(long) // 10 and _contained(short, long):
                    return sub_id
        return None


def _contained(short: tuple[str, ...], long: tuple[str, ...]) -> bool:
    rest = iter(long)
    return all(word in rest for word in short) and not (set(long) - set(short)) & {"not", "no", "without", "never"}
