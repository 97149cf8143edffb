"""Blocks of a caption: parts that no sentence crosses, without list and Markdown markers.

Each line is a block, except in a paragraph that is wrapped at a fixed width, where the next line continues the block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from recaption.annotate.lexicon import word_set

Span = tuple[int, int]

_BULLET = "-*+•·●○◦▪▫■□‣⁃–—∙➤➢►▶✓✔"
_ITEM = rf"(?:[{_BULLET}]|\(?(?:\d{{1,3}}|[A-Za-z]|[ivx]{{1,4}})\)|\d{{1,3}}\.)(?=\s)"
_MARKER = re.compile(rf"(?:\s+|#{{1,6}}(?=\s)|>|\|(?=\s)|{_ITEM}){{1,12}}")
_RULE = re.compile(r"[\s\-=_*~`#>|:+]*")  # a line of Markdown without text: rule, fence, table border
_LABEL = re.compile(r"(\*\*|__)(?!\s)([^*_\n]{1,80}?)(:?)\1(:?)(?=\s|$)")
_GAP = re.compile(rf"(?:\s|[{_BULLET}#>|=_`~:]|\(?(?:\d{{1,3}}|[ivx]{{2,4}}|[A-Za-z])[.)])*")
_HEADING = re.compile(r"[ \t]{0,8}#")
_MIN_WRAPPED = 40  # characters; shorter lines are items of a list, not wrapped prose
_OPEN_END = word_set("""
    a an the of in on at with and or to by for from is are its their his her as that which
""")


def is_gap(text: str) -> bool:
    """Whether `text` has only white space and list markers: only such text lies between two spans."""
    return _GAP.fullmatch(text) is not None


def blocks(text: str) -> Iterator[Span]:
    """The blocks of `text` in order, as (start, end) code points, half-open, without markers. A Markdown label
    ("**Foreground:** …") is a separate block."""
    start: int | None = None
    end = 0
    for line_start, line_end in _lines(text):
        if _RULE.fullmatch(text, line_start, line_end):
            if start is not None:
                yield from _split_label(text, start, end)
                start = None
            continue
        if start is not None and _continues(text, start, end, line_start, line_end):
            end = line_end
            continue
        if start is not None:
            yield from _split_label(text, start, end)
        start, end = line_start, line_end
    if start is not None:
        yield from _split_label(text, start, end)


def _lines(text: str) -> Iterator[Span]:
    start = 0
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        yield start, end
        start = end + 1


def _continues(text: str, start: int, end: int, line_start: int, line_end: int) -> bool:
    if _HEADING.match(text, start) or _is_item(text, line_start, line_end):
        return False
    head = text[line_start:line_end].lstrip()[:1]
    last = text[max(start, end - 24) : end].rstrip()
    if not last or end - start < _MIN_WRAPPED or last[-1] in ".!?:。！？…|":
        return False
    return head.islower() or last[-1] == "," or last.split()[-1] in _OPEN_END


def _is_item(text: str, start: int, end: int) -> bool:
    marker = _MARKER.match(text, start, end)
    return marker is not None and not marker[0].isspace()


def _split_label(text: str, start: int, end: int) -> Iterator[Span]:
    marker = _MARKER.match(text, start, end)
    if marker:
        start = marker.end()
    label = _LABEL.match(text, start, end)
    if label and (label[3] or label[4] or label.end() >= end):
        yield label.start(2), label.end(3)  # the colon of "**Label**:" stays outside, as a marker
        start = label.end()
    if start < end:
        yield start, end


def trim(text: str, start: int, end: int) -> Span:
    """The span without markers at its start, white space at its ends and bold around it. The result is empty if the
    span has nothing else."""
    while start < end and text[start].isspace():
        start += 1
    marker = _MARKER.match(text, start, end)
    if marker and marker.end() <= end:
        start = marker.end()
    while end > start and text[end - 1].isspace():
        end -= 1
    is_marked = start < end and (text[start] in "*_" or text[end - 1] in "*_")
    for mark in ("***", "**", "__") if is_marked else ():
        size = len(mark)
        if end - start >= size and text.startswith(mark, start, end):
            closing = text.find(mark, start + size, end)
            if closing == end - size or closing < 0:  # around all of it, or closed in a later sentence
                start += size
                end -= size if closing >= start else 0
        elif end - start >= size and text.endswith(mark, start, end) and text.find(mark, start, end) == end - size:
            end -= size  # opened in an earlier sentence
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return (end, end) if is_gap(text[start:end]) else (start, end)
