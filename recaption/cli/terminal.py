"""Shared by all commands: consoles, paths and command names for messages, and the hook for a failure."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console

from recaption.errors import MissingExtra
from recaption.stdio import Unfailing


@dataclass
class Invocation:
    """One call of `recaption.cli.main`; commands get it as `context.obj`."""

    failed: Callable[[int, str], None] = lambda code, text: None
    """Called with exit code and message after an error was printed. A command with a display sets it."""


def unfailing_console(**options: Any) -> Console:
    """A console on standard output whose writes never raise, even if the terminal or the pipe is closed."""
    return Console(file=cast(IO[str], Unfailing(sys.stdout)), **options)


def print_plain(console: Console, text: str) -> None:
    """Print one line unchanged: no markup, no highlighting, no wrapping."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def needs_run_extra() -> Iterator[None]:
    """Turn the failed import of a missing package into MissingExtra, whose message names the command to install it."""
    try:
        yield
    except ImportError as error:
        if error.name and error.name.split(".")[0] == "recaption":
            raise
        raise MissingExtra(error.name or "a package", "run") from error


def command_name() -> str:
    """How to call recaption from the current folder: its bare name only if it is on PATH."""
    if shutil.which("recaption"):
        return "recaption"
    script = Path(sys.executable).parent / "recaption"
    return shlex.quote(short_path(script)) if script.is_file() else "python -m recaption"


def short_path(path: str | Path) -> str:
    """A path below the current folder, relative to it; other paths and URLs as they are."""
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else str(path)
