"""Normalisation of texts on intake (once, before any offset is counted), and durations as text."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

LONGEST: Final = 64 * 1024
"""Bytes of UTF-8 that an answer or a caption may have. Longer texts are cut there (`cut`)."""

INVISIBLE: Final = (
    "\u200b\u200c\u200d\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff\u00ad\u061c\u180e"
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
"""Characters without width that are removed from both ends of an answer."""

LINE_ENDS: Final = re.compile("\r\n?|\u2028|\u2029|\x85|\x0b|\x0c")
_SURROGATES = re.compile("[\ud800-\udfff]")


def normalise(text: str) -> str:
    """The text as it is stored and counted in: line ends as \\n, no NUL, no lone surrogates (U+FFFD), NFC, stripped.

    Idempotent. The model's own string stays in `answers/`.
    """
    text = LINE_ENDS.sub("\n", storable(text))
    return text.strip() if text.isascii() else unicodedata.normalize("NFC", text).strip()


def storable(text: str) -> str:
    """The text as it can be written as UTF-8: without NUL and without surrogates (see `without_surrogates`)."""
    return without_surrogates(text.replace("\0", ""))


def without_surrogates(text: str) -> str:
    """A pair of surrogates becomes the character that it stands for, a lone surrogate becomes U+FFFD."""
    if text.isascii() or not _SURROGATES.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def cut(text: str, longest: int = LONGEST) -> str:
    """The longest prefix of a storable text that has at most `longest` bytes of UTF-8. No character is split."""
    if len(text) * 4 <= longest:
        return text
    data = text.encode()
    return text if len(data) <= longest else data[:longest].decode("utf-8", "ignore")


def fitted(text: str, longest: int = LONGEST) -> tuple[str, bool]:
    """An answer as it is stored, and whether it was cut to at most `longest` bytes.

    A longer text first loses the white space and the invisible characters at both ends.
    """
    if cut(text, longest) == text:
        return text, False
    text = trimmed(text)
    short = cut(text, longest)
    return short, short != text


def trimmed(text: str) -> str:
    """Without the white space and the invisible characters (zero-width spaces, direction marks, …) at both ends."""
    start, end = 0, len(text)
    while start < end and (text[start].isspace() or text[start] in INVISIBLE):
        start += 1
    while start < end and (text[end - 1].isspace() or text[end - 1] in INVISIBLE):
        end -= 1
    return text[start:end]


def sha256(text: str) -> str:
    """In hex; lone surrogates, which columns from the web may contain, are hashed unchanged."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def fold(text: str) -> str:
    """One line: every run of white space becomes one space (for `.txt` members and CSV cells)."""
    return " ".join(text.split())
