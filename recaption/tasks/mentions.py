"""Markup that a caption only mentions, as in "the <br> tag": cleaning does not change it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

ENDS: Final = ".!?。！？>\n\"'”"
"""Characters that end a sentence. Markup after any other character is a part of the sentence."""

_CODE = re.compile(r"```[^`]*```|`[^`\n]+`")
_OPENING, _CLOSING = "\"'“‘«「『`", "\"'”’»」』`"
_NAMED = re.compile(r"[\"'”’`]?,?\s+(?:HTML\s+|XML\s+|control\s+|special\s+)?(?:tag|token|element|marker|entity)", re.I)


def mentions(text: str) -> Callable[[re.Match[str]], bool]:
    """A predicate: whether `text` only mentions the markup of a match, because it is quoted, named as a tag, or in
    code."""
    code = [match.span() for match in _CODE.finditer(text)] if "`" in text else []

    def mentioned(match: re.Match[str]) -> bool:
        start, end = match.span()
        before, behind = text[start - 1 : start], text[end : end + 2]
        if before and before in _OPENING and (behind[:1] in _CLOSING if behind else False):
            return True
        if before and before in _OPENING and behind[:1] in ".,;:!?" and behind[1:] and behind[1:] in _CLOSING:
            return True
        return any(a < start and end < b for a, b in code) or _NAMED.match(text, end) is not None

    return mentioned


def remove(pattern: re.Pattern[str], text: str, by: Callable[[re.Match[str]], str]) -> str:
    """Replace all matches but those that the caption only mentions."""
    mentioned = mentions(text)
    return pattern.sub(lambda match: match[0] if mentioned(match) else by(match), text)
