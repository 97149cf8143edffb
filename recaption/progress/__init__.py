"""The display of a run: bars in a terminal, a plain line every few seconds elsewhere, JSON lines, or nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol

from rich.console import Console

from recaption.generate.progress import PassProgress
from recaption.progress.bars import Bars
from recaption.progress.lines import JsonLines, PlainLines
from recaption.progress.words import utilisation_text

__all__ = ["Display", "ProgressListener", "utilisation_text"]


class ProgressListener(Protocol):
    """Receives the progress of a run."""

    def generating(self, state: PassProgress) -> None: ...

    def building(self, done: int, total: int) -> None: ...


class _View(ProgressListener, Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...

    def failed(self, code: int, text: str) -> None: ...

    def message(self, text: str) -> None: ...

    def summary(self, fields: dict[str, Any]) -> None: ...


class Display:
    """Use as a context manager; `generating` and `building` may be called at any rate."""

    def __init__(self, console: Console, *, quiet: bool = False, json: bool = False) -> None:
        """With `json` only JSON lines are written to the console's file, with `quiet` nothing."""
        self._view: _View | None = None
        if not quiet:
            self._view = JsonLines(console) if json else Bars(console) if console.is_terminal else PlainLines(console)

    def __enter__(self) -> Display:
        if self._view:
            self._view.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._view:
            self._view.stop()

    def message(self, text: str) -> None:
        """Print a line that stays on the screen."""
        if self._view:
            self._view.message(text)

    def generating(self, state: PassProgress) -> None:
        """Progress of a model's pass: per generation done, captions/s, retried and rejected."""
        if self._view:
            self._view.generating(state)

    def building(self, done: int, total: int) -> None:
        """Progress of a build, in shards annotated and written."""
        if self._view:
            self._view.building(done, total)

    def failed(self, code: int, text: str) -> None:
        """Print the last line of a failed run, after its error was printed on standard error."""
        if self._view:
            self._view.failed(code, text)

    def summary(self, fields: dict[str, Any]) -> None:
        """The result, for JSON lines only."""
        if self._view:
            self._view.summary(fields)
