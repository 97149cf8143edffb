"""Progress in a terminal, redrawn in place, as wide as the terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from recaption.generate.progress import PassProgress
from recaption.progress.display import ConsoleDisplay
from recaption.progress.words import at_work, counted, problems, rate, utilisation_text

FRAMES_PER_SECOND = 4
WIDEST_BAR = 28  # characters
NARROWEST_BAR = 6
_HEADS = ("done", "captions/s", "retried", "rejected")
_DISPENSABLE = (2, 1, 3)  # left out in this order in a narrow terminal
_INDENT = 2
_GAP = 2  # spaces between two columns


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A bar with its numbers."""

    name: str
    share: float
    cells: tuple[str, ...]  # one per column of _HEADS


@dataclass(frozen=True, kw_only=True, slots=True)
class _Block:
    """A model or the build: title, bars and the lines below."""

    title: str
    head: str
    rows: tuple[_Row, ...]
    below: str = ""
    problems: str = ""
    working: bool = True


class Bars(ConsoleDisplay):
    """Draws the latest state. A thread of rich reads the blocks, so they are replaced and never changed."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._blocks: dict[str, _Block] = {}
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(
            console=console, get_renderable=self._picture, refresh_per_second=FRAMES_PER_SECOND, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def generating(self, state: PassProgress) -> None:
        self._blocks = self._blocks | {f"model {state.model}": _of_model(state)}

    def building(self, done: int, total: int) -> None:
        row = _Row(name="shards", share=done / total if total else 0.0, cells=(f"{done:,}/{total:,}", "", "", ""))
        self._blocks = self._blocks | {"": _Block(title="annotate, write", head="", rows=(row,))}

    def _picture(self) -> RenderableType:
        blocks = list(self._blocks.values())
        if not blocks:
            return self._head(_Block(title="starting", head="", rows=()))
        widths = _fitted([row for block in blocks for row in block.rows], self._console.width)
        parts: list[RenderableType] = []
        for block in blocks:
            parts.append(self._head(block))
            parts.append(Padding(_table(block.rows, widths), (0, 0, 0, _INDENT)))
            if block.below:
                parts.append(Text(f"  {block.below}", style="dim", no_wrap=True, overflow="ellipsis"))
            if block.problems:
                parts.append(Text(f"  {block.problems}", style="yellow", no_wrap=True, overflow="ellipsis"))
        return Group(*parts)

    def _head(self, block: _Block) -> RenderableType:
        line = Table.grid(padding=(0, 1, 0, 0))
        words = Text.assemble((block.title, "bold"), f" · {block.head}" if block.head else "")
        words.no_wrap, words.overflow = True, "ellipsis"
        line.add_row(self._spinner if block.working else Text("✓", style="green"), words)
        return line


def _of_model(state: PassProgress) -> _Block:
    rows = tuple(
        _Row(
            name=name,
            share=g.share,
            cells=(
                counted(state, name).rjust(2 * len(f"{g.total:,}") + 1),  # a fixed width, so that columns do not move
                rate(state, name),
                f"{g.retries:,}",
                f"{g.rejected:,}",
            ),
        )
        for name, g in state.generations.items()
        if g.total
    )
    return _Block(
        title=state.model,
        head=" · ".join(at_work(state)),
        rows=rows,
        below=utilisation_text(state.meter),
        problems=", ".join(problems(state)),
        working=state.phase != "done",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Widths:
    """Widths of the name, of the bar, and of each number that fits, by its position."""

    name: int
    bar: int
    numbers: dict[int, int]


def _fitted(rows: list[_Row], width: int) -> _Widths:
    """Aligned columns, one line per bar. In a narrow terminal the least important numbers are left out."""
    name = max((len(row.name) for row in rows), default=0)
    numbers = {i: max([len(head), *(len(row.cells[i]) for row in rows)]) for i, head in enumerate(_HEADS)}
    for i in (*_DISPENSABLE, None):
        left = width - _INDENT - name - sum(numbers.values()) - _GAP * (len(numbers) + 1)
        if i is None or left >= NARROWEST_BAR:
            break
        del numbers[i]
    return _Widths(name=name, bar=max(NARROWEST_BAR, min(WIDEST_BAR, left)), numbers=numbers)


def _table(rows: tuple[_Row, ...], widths: _Widths) -> Table:
    named = any(any(row.cells[1:]) for row in rows)  # a build has only the first number
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, show_header=named, header_style="dim")
    table.add_column("", width=widths.name, no_wrap=True)
    table.add_column("", width=widths.bar)
    for i, width in widths.numbers.items():
        table.add_column(_HEADS[i], width=width, justify="right", no_wrap=True)
    for row in rows:
        bar = ProgressBar(total=1.0, completed=row.share, width=widths.bar)
        table.add_row(Text(row.name, style="bold"), bar, *(Text(row.cells[i]) for i in widths.numbers))
    return table
