"""How sure the model was of each sub-caption: the log-probabilities of the tokens of its content words.

    tokens ── nbytes ──► bytes of the answer ──► characters of the answer ── cleaning ──► characters of the caption

A token counts for a sub-caption if at least one of its bytes is in a content word of the sub-caption (`content_words`);
a token that spans two sub-captions counts for both. Cleaning removes parts of an answer, so a sub-caption is looked up
in the answer. If its place cannot be determined, it has no confidence.
"""

from __future__ import annotations

import math
import statistics
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Final, NamedTuple

from recaption.annotate.content_words import content_words
from recaption.tasks.cleaning import published
from recaption.tasks.stored_logprobs import read_logprobs
from recaption.text import LINE_ENDS
from recaption.types import Answer, Caption, SubCaption

_MARK: Final = "\ue000"  # stands for a character whose way through cleaning is followed
_MOST_PLACES: Final = 16  # occurrences of a text in the answer that are tried
_DIGITS: Final = 5

Span = tuple[int, int]


class Confidence(NamedTuple):
    """Of the log-probabilities (natural logarithm) of tokens: mean, minimum and population standard deviation."""

    mean: float
    least: float
    deviation: float


def with_confidence(caption: Caption, answer: Answer) -> Caption:
    """The caption with `lp_mean`, `lp_min` and `lp_std` in its sub-captions, where they are known.

    `answer` is the one that the caption was made of. Unchanged if it has no log-probabilities.
    """
    if answer.logprobs is None:
        return caption
    values, nbytes = read_logprobs(answer.logprobs)
    found = confidences(answer.text, caption, values.tolist(), nbytes.tolist())
    subs = [
        sub if of_sub is None else replace(sub, lp_mean=of_sub.mean, lp_min=of_sub.least, lp_std=of_sub.deviation)
        for sub, of_sub in zip(caption.sub_captions, found, strict=True)
    ]
    return replace(caption, sub_captions=tuple(subs))


def confidences(
    answer: str, caption: Caption, logprobs: Sequence[float], nbytes: Sequence[int]
) -> list[Confidence | None]:
    """The confidence of each sub-caption of a caption that was made of `answer`.

    `logprobs` and `nbytes` have one value per token: see `types.Logprobs`. A sub-caption has None if its place in
    the answer is not known or one of its values is NaN; all have None if the bytes do not sum to the answer's length.
    """
    ends = list(accumulate(nbytes))
    if not ends or ends[-1] != len(answer.encode()):
        return [None] * len(caption.sub_captions)
    bytes_before = [0, *accumulate(len(character.encode()) for character in answer)]
    made: list[Confidence | None] = []
    for sub, place in zip(caption.sub_captions, _places(answer, caption), strict=True):
        tokens = None
        if place is not None:
            spans = (place(start, end) for start, end in _content(sub))
            covered = [(bytes_before[start], bytes_before[end]) for start, end in spans]
            tokens = {at for low, high in covered for at in _overlapping(ends, nbytes, low, high)}
        values = [logprobs[at] for at in sorted(tokens or ())]
        made.append(_of_tokens(values) if values and not any(map(math.isnan, values)) else None)
    return made


def _of_tokens(values: Sequence[float]) -> Confidence:
    mean = statistics.fmean(values)
    found = (mean, min(values), statistics.pstdev(values, mean))
    return Confidence(*(round(value, _DIGITS) for value in found))


def _content(sub: SubCaption) -> list[Span]:
    """The content words of a sub-caption without its opener, as offsets into the sub-caption's text."""
    opener = sub.content_start - sub.char_start
    return [(opener + start, opener + end) for start, end in content_words(sub.text[opener:])]


def _overlapping(ends: Sequence[int], nbytes: Sequence[int], low: int, high: int) -> Iterator[int]:
    """The tokens that have one of the bytes from `low` to `high`; `ends` are the sums of `nbytes`."""
    for at in range(bisect_right(ends, low), len(ends)):
        if ends[at] - nbytes[at] >= high:
            return
        if nbytes[at]:
            yield at


# from a caption to the answer

_Place = Callable[[int, int], Span]
"""Maps a span of a sub-caption's text to the span of the answer that it was made of; both in code points. Marks belong
to the character that they combine with."""


def _places(answer: str, caption: Caption) -> list[_Place | None]:
    text, origins = normalised(answer)
    whole = _only(text, caption.text)
    made: list[_Place | None] = []
    for sub in caption.sub_captions:
        at = whole + sub.char_start if whole is not None else _found(answer, caption.text, sub, text, origins)
        made.append(None if at is None else _place(origins, at))
    return made


def _place(origins: Sequence[Span], at: int) -> _Place:
    return lambda start, end: (origins[at + start][0], origins[at + end - 1][1])


def _only(text: str, part: str) -> int | None:
    """The position of `part` in `text`, if it occurs exactly once."""
    at = text.find(part)
    return at if at >= 0 and text.find(part, at + 1) < 0 else None


def _found(answer: str, caption: str, sub: SubCaption, text: str, origins: Sequence[Span]) -> int | None:
    """The place of a sub-caption in `text`, the normalised answer.

    The text of the sub-caption may occur several times in the answer. To find the right occurrence, a character of each
    is replaced by a mark, in turn, and the answer is cleaned: the mark that then stands in the sub-caption shows the
    place.
    """
    middle = next((at for at, character in enumerate(sub.text) if character.isalnum()), None)
    if middle is None:
        return None
    expected = sub.char_start + middle
    marked = caption[:expected] + _MARK + caption[expected + 1 :]
    at = -1
    for _ in range(_MOST_PLACES):
        at = text.find(sub.text, at + 1)
        if at < 0:
            return None
        start, end = origins[at + middle]
        if published(answer[:start] + _MARK + answer[end:]).text == marked:
            return at
    return None


def normalised(text: str) -> tuple[str, list[Span]]:
    """The text in NFC with line ends as \\n, and for each of its characters the span of `text` that it is from.

    It is `text.normalise` without stripping the ends.
    """
    made, origins = list[str](), list[Span]()
    at = 0
    for part in _parts(text):
        new = unicodedata.normalize("NFC", LINE_ENDS.sub("\n", part))
        made.append(new)
        origins += [(at, at + len(part))] * len(new)
        at += len(part)
    return "".join(made), origins


def _parts(text: str) -> Iterator[str]:
    """The parts of a text that normalise independently: characters with the marks that combine with them, \\r\\n."""
    start = 0
    for at in range(1, len(text)):
        if _joins(text[start:at], text[at]):
            continue
        yield text[start:at]
        start = at
    if text:
        yield text[start:]


def _joins(before: str, character: str) -> bool:
    if character < "\u0300":
        return character == "\n" and before[-1] == "\r"
    if unicodedata.combining(character):
        return True
    return not unicodedata.is_normalized("NFC", before + character) and (
        unicodedata.normalize("NFC", before + character)
        != unicodedata.normalize("NFC", before) + unicodedata.normalize("NFC", character)
    )
