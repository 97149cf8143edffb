"""Normalisation of texts on intake: once, before any offset is counted."""

from __future__ import annotations

import hashlib
import re
import unicodedata

_LINE_ENDS = re.compile("\r\n?|\u2028|\u2029|\x85|\x0b|\x0c")
_SURROGATES = re.compile("[\ud800-\udfff]")


def normalise(text: str) -> str:
    """The text as it is stored and counted in: line ends as \\n, no NUL, no lone surrogates (U+FFFD), NFC, stripped.

    Idempotent. The model's own string stays in `answers/`.
    """
    text = _LINE_ENDS.sub("\n", text).replace("\0", "")
    if text.isascii():
        return text.strip()
    text = _SURROGATES.sub("\ufffd", text)
    return unicodedata.normalize("NFC", text).strip()


def sha256(text: str) -> str:
    """In hex; lone surrogates, which columns from the web may hold, count as they are."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def fold(text: str) -> str:
    """One line: every run of white space becomes one space (for `.txt` members and CSV cells)."""
    return " ".join(text.split())
