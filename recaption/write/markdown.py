"""Text of users, models and the web as Markdown that says what they wrote and does nothing else (CommonMark, GFM)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

_CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f\u0085\u2028\u2029]")
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>|~#&!$])")
_BLOCK: Final = re.compile(r"^([-+=]|\d+[.)])")  # a list, a rule or a heading, at the start of a line only


def plain(text: str) -> str:
    """One line of text in which nothing is markup; at most a site turns a bare URL into a link to itself."""
    escaped = _SPECIAL.sub(r"\\\1", " ".join(_CONTROL.sub(" ", text).split()))
    return _BLOCK.sub(lambda match: match[1][:-1] + "\\" + match[1][-1], escaped)


def code(text: Any) -> str:
    """A code span for a name or a number, also inside a table."""
    line = " ".join(_CONTROL.sub(" ", str(text)).split()).replace("|", "\\|")
    ticks = "`" * (_longest_run(line, "`") + 1)
    return f"{ticks} {line} {ticks}" if "`" in line else f"{ticks}{line}{ticks}"


def fenced(text: str, language: str = "text") -> str:
    """A code block whose fence is longer than any that the text has."""
    body = _CONTROL.sub(" ", text.replace("\r\n", "\n").replace("\r", "\n"))
    fence = "`" * max(3, _longest_run(body, "`") + 1)
    return f"{fence}{language}\n{body}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; cells are Markdown already. Columns from the second on whose heads end with `:` are right-aligned."""
    titles = [name.removesuffix(":") for name in head]
    rules = ["---:" if name.endswith(":") else "---" for name in head]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [titles, rules, *rows])


def _longest_run(text: str, character: str) -> int:
    return max(map(len, re.findall(f"{character}+", text)), default=0)
