"""Output on a terminal: grids and sections. Rich markup in texts is not interpreted: they are printed as `Text`."""

from __future__ import annotations

from collections.abc import Container
from typing import Literal

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from recaption.formatting import printable


def grid(*heads: str, right: Container[int] = (), widest: int | None = None) -> Table:
    """A table without lines, with a row of `heads`. `right` has the numbers of right-aligned columns.

    With `widest`, each cell is one line of at most `widest` characters, shortened with an ellipsis.
    """
    made = Table.grid(padding=(0, 2, 0, 0))
    made.show_header, made.header_style = True, "dim"
    for number, head in enumerate(heads):
        justify: Literal["left", "right"] = "right" if number in right else "left"
        name = Text(printable(head))
        made.add_column(name, justify=justify, no_wrap=widest is not None, overflow="ellipsis", max_width=widest)
    return made


def section(console: Console, title: str, body: RenderableType | None) -> None:
    """Print `body`, indented, under a title; nothing for None and for a table without rows."""
    if body is None or (isinstance(body, Table) and not body.row_count):
        return
    console.print()
    console.print(Text(title, style="bold"))
    console.print(Padding(body, (0, 0, 0, 2), expand=False))
