"""What a run shows while it works: bars in a terminal, a plain line now and then elsewhere, JSON lines, or nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol

from rich.console import Console

from recaption.generate.progress import PassProgress
from recaption.progress.bars import Bars
from recaption.progress.lines import JsonLines, PlainLines
from recaption.progress.words import speed_of_light

__all__ = ["Display", "Watcher", "speed_of_light"]


class Watcher(Protocol):
    """Is told how far a run is, as often as it goes on; what it makes of it is its own."""

    def generating(self, state: PassProgress) -> None: ...

    def building(self, done: int, total: int) -> None: ...


class _View(Watcher, Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...

    def failed(self, code: int, text: str) -> None: ...

    def say(self, text: str) -> None: ...

    def summary(self, fields: dict[str, Any]) -> None: ...


class Display:
    """Use as a context; `generating` and `building` may be called as often as one likes."""

    def __init__(self, console: Console, *, quiet: bool = False, json: bool = False) -> None:
        """With `json` the console's file gets JSON lines and nothing else, with `quiet` nothing at all."""
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

    def say(self, text: str) -> None:
        """A line that stays."""
        if self._view:
            self._view.say(text)

    def generating(self, state: PassProgress) -> None:
        """How far a model's pass is: per generation done, captions/s, what was asked again and rejected."""
        if self._view:
            self._view.generating(state)

    def building(self, done: int, total: int) -> None:
        """Shards annotated and written."""
        if self._view:
            self._view.building(done, total)

    def failed(self, code: int, text: str) -> None:
        """The last line of a run that ended with this exit code, once standard error has been told why."""
        if self._view:
            self._view.failed(code, text)

    def summary(self, fields: dict[str, Any]) -> None:
        """What came of it, for programs; people are shown more than that elsewhere."""
        if self._view:
            self._view.summary(fields)
