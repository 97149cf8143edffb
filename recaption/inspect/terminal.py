"""Output on a terminal: texts from models and the web without control characters, grids, sections.

A caption can contain terminal escapes (which move the cursor or set the window's title), direction overrides and
invisible characters. All of them are removed. Rich markup is not interpreted, because this package prints all texts as
`rich.text.Text`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from typing import Literal

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

# ECMA-48: CSI (ESC [ … final byte), OSC/DCS/APC/PM/SOS (… until BEL or ST), and two-character escapes; C1 forms too.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
)
_KEPT_FORMAT = "\u200c\u200d"  # joiners: scripts and emoji need them
_BREAKS = re.compile("[\r\n\t\x0b\x0c\x85\u2028\u2029]+")


def printable(text: str) -> str:
    """The text on one line, without escapes, control characters, direction overrides and invisible format characters.

    Line ends and tabs become a space. The result is never longer than `text`; offsets into `text` do not hold in it.
    """
    text = _BREAKS.sub(" ", _ESCAPES.sub("", text))
    if text.isascii() and text.isprintable():
        return text
    return "".join(c for c in text if c in _KEPT_FORMAT or unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Cn"})


def grid(*heads: str, right: Container[int] = (), widest: int | None = None) -> Table:
    """A table without lines that begins with a row of `heads`. `right` has the numbers of right-aligned columns.

    With `widest`, each cell is one line of at most `widest` characters, shortened with an ellipsis.
    """
    made = Table.grid(padding=(0, 2, 0, 0))
    for number, _ in enumerate(heads):
        justify: Literal["left", "right"] = "right" if number in right else "left"
        made.add_column(justify=justify, no_wrap=widest is not None, overflow="ellipsis", max_width=widest)
    made.add_row(*(Text(printable(head), style="dim") for head in heads))
    return made


def section(console: Console, title: str, body: RenderableType | None) -> None:
    """Print `body`, indented, under a title; nothing where `body` is None."""
    if body is not None:
        console.print()
        console.print(Text(title, style="bold"))
        console.print(Padding(body, (0, 0, 0, 2), expand=False))
