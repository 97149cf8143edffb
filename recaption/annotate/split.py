"""Cut a caption into sentence-level spans by rules, in linear time.

Two steps. First blocks (`blocks.py`): lines, list items, headings and Markdown labels, their markers left outside. Then
sentences within a block: every run of full stops is a candidate, and its context decides.

Every span is exact (`text[start:end]`), spans are ordered and disjoint, and only white space and list markers
(`is_gap`) are outside them. A model would help only with texts without punctuation: on long captions, rules make a
sixth of the errors of a trained sentence splitter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from recaption.annotate.blocks import blocks, is_gap, trim
from recaption.annotate.quotes import enclosed
from recaption.annotate.words import CONTINUES, DAYS, MONTHS, NUMBERED, STARTERS, TITLES, UNCERTAIN

VERSION = "2"
"""Enters the build fingerprint: raise it whenever a span may change."""

Span = tuple[int, int]

WIDE_STOPS = "。！？｡．।॥؟۔።။។︒"  # always end a sentence
_STOP = re.compile(rf"[.!?…‥]+[{WIDE_STOPS}]*|[{WIDE_STOPS}]+[.!?…]*|[؛]|‼|⁉")
_CLOSERS = re.compile(r"(?:[\"'”’»›」』）】》\)\]\}]|\*{1,3}|__?){0,6}")
_FACES = "\u2600-\u27bf\u2b50\u2b55\U0001f000-\U0001faff"
_FACE = f"[{_FACES}][\ufe0f\u200d\U0001f3fb-\U0001f3ff]*"
_EMOJI = re.compile(f"{_FACE}(?: ?{_FACE})*")
_CANDIDATE = re.compile(
    f"{_STOP.pattern}|(?P<emoji>{_EMOJI.pattern})|(?P<bar>(?<=\\s)\\|(?=\\s))|(?P<item>(?<!\\S)\\d{{1,2}}\\)(?=\\s))"
)
_FIRST = re.compile(rf"[.!?…‥{WIDE_STOPS}؛‼⁉{_FACES}|\d]")  # what a candidate begins with; far quicker to find
_EMOJI_BEHIND = re.compile(f" ?{_EMOJI.pattern}")
_SPACE = re.compile(r"\s*")
_OPENERS = re.compile(r"(?:[\"'“‘«‹「『（【《\(\[\{]|\*{1,3}|__?){0,6}")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_BEFORE = re.compile(r"[\w.&'’-]+\Z")
_NUMBER_ITEM = re.compile(r"(\d{1,2})[.)]\s+(?=[\"“(*]*[^\W\d_])")
_SECOND_ITEM = {".": re.compile(r"\s2\.\s"), ")": re.compile(r"\s2\)\s")}
_ITEM_LENGTH = 400
_LOOK_BACK = 40  # characters; abbreviations and numbers are shorter


def split(text: str) -> list[Span]:
    """Spans of the sentences of `text`, in order, as (start, end) code points, half-open."""
    lower_style = _is_lower_style(text)
    inside = enclosed(text)
    spans: list[Span] = []
    for start, end in blocks(text):
        for a, b in _sentences(text, start, end, inside, lower_style):
            a, b = trim(text, a, b)
            if a < b:
                spans.append((a, b))
    return spans


def has_end(text: str) -> bool:
    """Whether the text ends like a sentence: with a full stop in any script, possibly followed by closers or emoji."""
    tail = text[-48:].rstrip()
    emoji = None
    for match in _EMOJI.finditer(tail):
        emoji = match
    if emoji is not None and emoji.end() == len(tail):
        tail = tail[: emoji.start()].rstrip() or "."  # emoji close a sentence
    return tail.rstrip("\"'”’»›」』）】》)]}*_ ").endswith((".", "!", "?", "…", "‥", "‼", "⁉", "؛", *WIDE_STOPS))


def _is_lower_style(text: str) -> bool:
    """No capitals at sentence starts, as alt texts and some models write: lower case is then no sign of going on."""
    first = re.search(r"[^\W\d_]", text[:200])
    return first is not None and first[0].islower()


def _sentences(text: str, start: int, end: int, inside: bytearray, lower_style: bool) -> Iterator[Span]:
    item = 2  # the next number of an enumeration within a line: "1. A dog 2. A cat"
    begin = pos = start
    numbered = re.match(r"\s*1[.)]\s", text[max(0, start - 4) : start][-4:]) is not None
    while pos < end:
        match = _candidate(text, pos, end)
        if match is None:
            break
        pos = match.end()
        if match.lastgroup == "emoji":
            if _starts_behind(text, pos, end) and begin < match.start():
                yield begin, pos
                begin = pos
            continue
        if match.lastgroup == "bar":  # "A kitchen | Stock photo"
            yield begin, match.start()
            begin = pos
            continue
        is_item = match.lastgroup == "item"  # "2)"
        if numbered and (match[0] == f"{item})" if is_item else _is_next_item(text, match.start(), end, item)):
            yield begin, match.start() - (0 if is_item else len(str(item)))
            begin, item = pos, item + 1
            continue
        first = match.start() if is_item else match.start() - 1
        if (
            text.startswith(("1.", "1)"), first)
            and text[max(begin, first - 8) : first].rstrip().endswith(":")
            and _SECOND_ITEM[text[first + 1]].search(text, pos, min(end, pos + _ITEM_LENGTH))
        ):
            yield begin, first  # "Three things: 1. A dog 2. A cat"
            begin, item, numbered = pos, 2, True
            continue
        if is_item:
            continue
        boundary = _boundary(text, match, end, inside, lower_style)
        if boundary is None:
            continue
        yield begin, boundary
        begin = pos = boundary
        listed = _NUMBER_ITEM.match(text, _SPACE.match(text, pos, end).end(), end)  # type: ignore[union-attr]
        if listed:  # a marker after a sentence end: "A dog. 2. A cat."
            begin = pos = listed.end()
    if begin < end:
        yield begin, end


def _candidate(text: str, pos: int, end: int) -> re.Match[str] | None:
    while (first := _FIRST.search(text, pos, end)) is not None:
        if (match := _CANDIDATE.match(text, first.start(), end)) is not None:
            return match
        pos = first.end()
    return None


def _is_next_item(text: str, stop: int, end: int, item: int) -> bool:
    digits = str(item)
    at = stop - len(digits)
    return (
        text[at:stop] == digits
        and text[at - 1 : at].isspace()
        and text[stop + 1 : stop + 2].isspace()
        and bool((after := text[stop + 2 : min(end, stop + 3)]) and (after.isupper() or after in '"“*('))
    )


def _starts_behind(text: str, at: int, end: int) -> bool:
    """Behind emoji, without a full stop: a space and a capitalised sentence starter."""
    after = _SPACE.match(text, at, end).end()  # type: ignore[union-attr]
    word = _WORD.match(text, after, min(end, after + 24))
    return after > at and word is not None and word[0] in STARTERS


def _boundary(text: str, stop: re.Match[str], end: int, inside: bytearray, lower_style: bool) -> int | None:
    """The end of the sentence if `stop` is its last full stop, or None if the sentence continues."""
    closed = _CLOSERS.match(text, stop.end(), end).end()  # type: ignore[union-attr]
    closed = _drop_openers(text, stop.end(), closed, end)
    if inside[stop.start()] and not (closed > stop.end() and not inside[min(closed, len(text) - 1)]):
        return None
    if closed >= end:
        return end
    if any(c in WIDE_STOPS for c in stop[0]):
        goes_on = closed > stop.end() and not text[closed].isspace()  # 「…。」と言った
        return None if goes_on else _with_emoji(text, closed, end)
    if not text[closed].isspace() and not _EMOJI.match(text, closed, end):
        return closed if closed == stop.end() and _is_glued(text, stop, end) else None
    after = _with_emoji(text, closed, end)
    nxt = _SPACE.match(text, after, end).end()  # type: ignore[union-attr]
    nxt = _OPENERS.match(text, nxt, end).end()  # type: ignore[union-attr]
    if nxt >= end:
        return end
    head = text[nxt]
    word_match = _WORD.match(text, nxt, min(end, nxt + 24))
    word = word_match[0] if word_match else ""
    if head.islower() and not lower_style and after == closed:
        return None
    if stop[0] == "." and closed == stop.end() and _abbreviates(text, stop.start(), head, word, lower_style):
        return None
    if lower_style and head.islower() and (word in CONTINUES or len(stop[0]) > 1 or "…" in stop[0]):
        return None
    if head in ",;:)]}%/&=.!?…" or (head in "-–—" and text[nxt + 1 : nxt + 2].isspace()):
        return None
    return after


def _drop_openers(text: str, start: int, closed: int, end: int) -> int:
    """A straight quote or Markdown marker that opens the next sentence is no closer: `Stop."Go` against `Stop. "Go`."""
    return (
        start if closed < end and closed > start and text[closed].isalnum() and text[closed - 1] in "\"'*_" else closed
    )


def _with_emoji(text: str, at: int, end: int) -> int:
    match = _EMOJI_BEHIND.match(text, at, end)
    return match.end() if match else at


def _is_glued(text: str, stop: re.Match[str], end: int) -> bool:
    """`on the table.The dog`: a lower-case word before, a capitalised sentence starter right behind."""
    word = _WORD.match(text, stop.end(), min(end, stop.end() + 24))
    before = text[max(0, stop.start() - 3) : stop.start()]
    if not (word and word[0] in STARTERS and text[stop.end()].isupper()):
        return False
    return len(before) == 3 and before.isalpha() and before.islower() and text[word.end() : word.end() + 1].isspace()


def _abbreviates(text: str, stop: int, head: str, word: str, lower_style: bool) -> bool:
    """Whether the full stop at `stop` belongs to an abbreviation or initial and `word` continues the sentence."""
    match = _BEFORE.search(text, max(0, stop - _LOOK_BACK), stop)
    if match is None:
        return False
    before = match[0].lstrip("'’-&.")
    low = before.lower()
    starter = word in STARTERS if not lower_style else word.lower() in _LOWER_STARTERS
    if low in TITLES:
        return not (starter and low in ("st", "mt", "ft") and _capital_before(text, match.start()))
    if low in CONTINUES:  # e.g. i.e. cf. vs.: never the last word
        return True
    if head.isdigit() and (low in NUMBERED or low in MONTHS):
        return True
    if low in MONTHS:
        return not starter and not lower_style
    if low in ("a.m", "p.m"):
        return word.lower() in DAYS or head.isdigit()
    if low in UNCERTAIN:
        return UNCERTAIN[low] and not starter
    if len(before) == 1 and before.isalpha():
        # "J. Smith" continues, "vitamin C. The" does not, "I." is the pronoun
        return not starter and (not lower_style or before.isupper())
    if "." in before and all(len(part) <= 1 for part in before.split(".")) and before[0].isalpha():
        return not starter  # U.S. Army, J.R.R. Tolkien
    return False


_LOWER_STARTERS = frozenset(word.lower() for word in STARTERS)


def _capital_before(text: str, at: int) -> bool:
    """`Main St. The`: the word before is capitalised, so it is a street."""
    words = text[max(0, at - _LOOK_BACK) : at].split()
    return bool(words) and words[-1][:1].isupper() and words[-1] not in STARTERS


__all__ = ["VERSION", "WIDE_STOPS", "Span", "has_end", "is_gap", "split"]
