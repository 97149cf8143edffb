"""Standard output and error, made safe once, at the entry of the command line: no encoding and no closed file ends it.

What an old locale cannot show is replaced: signs by their like in ASCII, letters by their escape (`\\u4e2d`).
"""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

_LIKE = {
    **{"→": "->", "←": "<-", "⇒": "=>", "·": "-", "•": "*", "…": "...", "–": "-", "—": "-", "−": "-", "‐": "-"},
    **{"×": "x", "✓": "+", "✗": "x", "≥": ">=", "≤": "<=", "≈": "~", "“": '"', "”": '"', "„": '"', "‘": "'"},
    **{"’": "'", "«": "<<", "»": ">>", "⇄": "<>", "±": "+-", "°": " deg", "\u00a0": " ", "\u202f": " ", "µ": "u"},
    **dict(zip("▁▂▃▄▅▆▇█", "_.-:=+*#", strict=True)),
    **dict.fromkeys("▏▎▍▌▋▊▉▐░▒▓━╸╺", "#"),
    **dict.fromkeys("│┃║╎╏┆┇", "|"),
    **dict.fromkeys("─═╌╍┄┅", "-"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝╠╣╦╩╬┏┓┗┛┡┩┢┪╇╈╋┳┻╞╡╪╤╧", "+"),
}


def prepare() -> None:
    """Make the standard streams safe, for the whole process. May be called again."""
    for number in range(3):  # a closed one would be given to the next file that is opened
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one
    codecs.register_error("recaption", _replaced)
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - lives as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="recaption")


def flush() -> None:
    """At the end: what cannot be written is dropped here, or the interpreter would make exit code 120 of it."""
    for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), number)
                stream.flush()


class Unfailing:
    """A stream whose writes never raise: once the terminal or the reader is gone, the rest is dropped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.gone = False

    def write(self, text: str) -> int:
        if not self.gone:
            try:
                self._stream.write(text)
            except (OSError, ValueError):
                self.gone = True
        return len(text)

    def flush(self) -> None:
        if not self.gone:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self.gone = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = []
    for sign in error.object[error.start : error.end]:
        like = _LIKE.get(sign) or ("*" if "\u2800" <= sign <= "\u28ff" else None)
        found.append(like or sign.encode("ascii", "backslashreplace").decode())
    return "".join(found), error.end
