"""Prints the result of a query as a table."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from recaption.formatting import number_of, printable
from recaption.inspect.query import COUNTED, QueryResult

if TYPE_CHECKING:
    from rich.console import Console

_NUMBERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*)$")
_LEAST = 10  # minimum width of a text column
_UPRIGHT = 3  # up to this many rows are printed with one column per line when the columns do not fit
_GAP = 2  # cells between columns


def print_result(answer: QueryResult, console: Console) -> None:
    """Print a table with one line per row: numbers right-aligned, long texts cut to the terminal's width.

    Where the columns do not fit, up to three rows are printed with one column per line; with more rows, the last
    columns are left out and named below.
    """
    cells = [["null" if v is None else shown(v) for v in row] for row in answer.rows]
    names = [printable(name) for name in answer.columns]
    numbers = [_NUMBERS.match(kind) is not None for kind in answer.types]
    natural = [max(cell_len(text) for text in (name, *column)) for name, column in _columns(names, cells)]
    least = [n if number else min(n, _LEAST) for n, number in zip(natural, numbers, strict=True)]
    kept = _fitting(least, console.width)
    if kept < len(names) and 0 < len(cells) <= _UPRIGHT:
        _print_upright(names, cells, console)
    else:
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), border_style="dim")
        for name, number in zip(names[:kept], numbers, strict=False):
            # rich narrows the widest columns first, and never a column without wrapping
            table.add_column(Text(name, "bold"), justify="right" if number else "left", no_wrap=number)
        for row, values in zip(cells, answer.rows, strict=True):
            table.add_row(*(_cell(text, value) for text, value in zip(row[:kept], values, strict=False)))
        console.print(table)
        if kept < len(names):
            left_out = f"not shown, the terminal is too narrow: {', '.join(names[kept:])}. SELECT the columns you want"
            console.print(Text(left_out, style="dim"))
    console.print(Text(_counted(answer), style="dim"))


def shown(value: Any) -> str:
    """A value on one line without control characters: lists and structs as JSON, floats with six significant digits."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.15g}"
    if isinstance(value, dict | list | tuple):
        return printable(json.dumps(value, ensure_ascii=False, default=str))
    if isinstance(value, bytes):
        return f"<{len(value):,} bytes>"
    return printable(str(value))


def _columns(names: list[str], cells: list[list[str]]) -> list[tuple[str, list[str]]]:
    return [(name, [row[i] for row in cells]) for i, name in enumerate(names)]


def _fitting(least: Sequence[int], width: int) -> int:
    """The number of columns that fit at their minimum width; at least one."""
    used, kept = -_GAP, 0
    for n in least:
        used += n + _GAP
        if kept and used > width:
            break
        kept += 1
    return kept


def _cell(text: str, value: Any) -> Text:
    return Text(text, "dim" if value is None else "", no_wrap=True, overflow="ellipsis")


def _print_upright(names: list[str], cells: list[list[str]], console: Console) -> None:
    wide = max(map(cell_len, names))
    for row in cells:
        grid = Table.grid(padding=(0, _GAP, 0, 0))
        grid.add_column(width=wide, style="bold")
        grid.add_column(overflow="fold")
        for name, text in zip(names, row, strict=True):
            grid.add_row(Text(name), Text(text))
        console.print(grid)
        console.print()


def _counted(answer: QueryResult) -> str:
    kept = len(answer.rows)
    if answer.total is None:
        return f"first {kept:,} of more than {COUNTED:,} rows"
    rows = number_of(answer.total, "row")
    return rows if kept == answer.total else f"first {kept:,} of {rows}"
