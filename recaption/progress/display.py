"""What a run tells its user: the base of all displays."""

from __future__ import annotations

from typing import Any, Protocol, Self

from rich.console import Console

from recaption import supervise
from recaption.generate.progress import PassProgress


class ProgressListener(Protocol):
    """Receives the progress of a run."""

    def generating(self, state: PassProgress) -> None: ...

    def building(self, done: int, total: int) -> None: ...

    def built(self, seconds: float) -> None: ...


class Display:
    """Shows nothing. Use as a context manager; `generating` and `building` may be called at any rate."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def message(self, text: str) -> None:
        """Print a line that stays on the screen; `text` is rich markup."""

    def generating(self, state: PassProgress) -> None:
        """Progress of a model's pass: per generation done, captions/s, retried and rejected."""

    def building(self, done: int, total: int) -> None:
        """Progress of a build, in shards annotated and written."""

    def built(self, seconds: float) -> None:
        """The duration of a finished task of the build."""

    def failed(self, code: int, text: str) -> None:
        """Print the last line of a failed run, after its error was printed on standard error."""

    def summary(self, fields: dict[str, Any]) -> None:
        """Report the result of the run. Only `JsonLines` prints it."""


class ConsoleDisplay(Display):
    """Prints messages and the exit code on a console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def message(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=not self._console.is_terminal)

    def failed(self, code: int, text: str) -> None:
        self._console.print(supervise.summary_line(code), highlight=False, markup=False, soft_wrap=True)
        supervise.summary_written()
