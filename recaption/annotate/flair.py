"""FLAIR's own splitter with spans: `re.split(r'\\n|</s>|[.]', text)`, stripped, empty ones dropped.

From FLAIR (github.com/ExplainableML/flair, src/data.py, split_caption). It drops full stops, cuts decimals and
abbreviations, and ignores ! and ?; offered so that a dataset can be compared with the published ones.
"""

from __future__ import annotations

import re

from recaption.annotate.split import Span

VERSION = "1"
_BREAK = re.compile(r"\n|</s>|[.]")


def split(text: str) -> list[Span]:
    """Spans of the pieces, in order."""
    spans: list[Span] = []
    start = 0
    for end, following in [*(match.span() for match in _BREAK.finditer(text)), (len(text), len(text))]:
        piece = text[start:end]
        left = start + len(piece) - len(piece.lstrip())
        right = left + len(piece.strip())
        if left < right:
            spans.append((left, right))
        start = following
    return spans
