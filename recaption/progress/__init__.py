"""The display of a run: bars in a terminal, a plain line every few seconds elsewhere, JSON lines, or nothing."""

from __future__ import annotations

from rich.console import Console

from recaption.progress.bars import Bars
from recaption.progress.display import Display, ProgressListener
from recaption.progress.lines import JsonLines, PlainLines
from recaption.progress.words import utilisation_text

__all__ = ["Display", "ProgressListener", "display_on", "utilisation_text"]


def display_on(console: Console, *, quiet: bool = False, json: bool = False) -> Display:
    """The display for a console: only JSON lines with `json`, nothing with `quiet`."""
    if quiet:
        return Display()
    return JsonLines(console) if json else Bars(console) if console.is_terminal else PlainLines(console)
