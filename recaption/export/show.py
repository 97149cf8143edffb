"""Progress and result of an export, as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from recaption.export.base import Exported


@contextmanager
def progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Yields a function to call with the finished and all shards. Shows a bar in a terminal, nothing elsewhere."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("[bold]export"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("", total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def print_exported(done: Exported, dest: str, console: Console) -> None:
    """Print the written samples and files, what was left out and why, and how to use the result."""

    def line(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    samples, files = "sample" + "s" * (done.samples != 1), "file" + "s" * (done.files != 1)
    line(f"{done.samples:,} {samples} in {done.files:,} {files} → {dest}")
    for reason, n in done.left_out.items():
        line(f"left out: {n:,} ({reason})")
    for note in done.notes:
        line(note)
    for usage in done.usage:
        line(f"{usage.program}:  {usage.arguments}")
