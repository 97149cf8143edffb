"""The command line. `main` runs one command and returns its exit code.

Exit codes: 0 done; 1 a limit of the pipeline was exceeded (rejects, breaker, budget), or a check found errors; 2 the
input is wrong; 3 infrastructure failed; 75 interrupted, run the same command again.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO, Annotated, cast

import typer
from rich.console import Console
from typer.core import TyperGroup
from typer.exceptions import TyperException

import recaption
from recaption import signals, stdio, supervise
from recaption.cli import compare, look, probe, run, setup, share
from recaption.cli.terminal import Invocation
from recaption.errors import Abandoned, Interrupted, MissingExtra, RecaptionError, UserError
from recaption.text import without_surrogates

PANELS = {
    "Run a pipeline": (run.run, run.generate, run.build, run.estimate, run.retry, run.reproduce),
    "Look into an output": (look.status, look.inspect, look.report, probe.probe, compare.compare),
    "Share and check": (look.balance, share.export, share.validate, share.push),
    "Set up": (setup.init, setup.doctor, setup.download),
}
"""The commands, as `recaption --help` groups them."""

_GONE = "the current folder no longer exists. Change to an existing folder (cd) and run the command again"
_COMPLETE = "_RECAPTION_COMPLETE"  # typer's name for the variable that a shell sets to get completions


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Errors are one message on standard error, never a traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    invocation = Invocation()
    try:
        if _COMPLETE in os.environ:
            command().main([], prog_name="recaption")
        _check_utf8(words)
        with (
            command().make_context("recaption", list(words) or ["--help"], obj=invocation) as context,
            signals.duckdb_interrupts(),
        ):
            return int(context.command.invoke(context))
    except typer.Exit as done:  # --help, --version
        return done.exit_code if words else UserError.exit_code
    except TyperException as error:
        return _failed(invocation, UserError.exit_code, _usage_error(error, words))
    except (UserError, RecaptionError, MissingExtra) as error:
        return _failed(invocation, error.exit_code, str(error))
    except KeyboardInterrupt as error:
        code = _failed(invocation, Interrupted.exit_code, signals.STOPPED_AT_ONCE)
        if isinstance(error, Abandoned):  # a normal exit would wait for what the abandoned thread uses
            supervise.ended(code)
            stdio.flush()
            os._exit(code)
        return code
    except BrokenPipeError:  # `recaption inspect … | head`
        return 0
    except Exception as error:  # noqa: BLE001 - a bug, here or in a library, also ends with a message and a code
        if isinstance(error, OSError) and error.errno == errno.EIO:  # the terminal was closed
            return 0
        if isinstance(error, FileNotFoundError) and _folder_is_gone():
            return _failed(invocation, UserError.exit_code, _GONE)
        text = "".join(traceback.format_exception(error)) + f"unexpected {type(error).__name__}: {error}"
        return _failed(invocation, RecaptionError.exit_code, text)


def _check_utf8(words: Sequence[str]) -> None:
    """Raise UserError for a name that is not text: DuckDB, Ray and printed commands cannot contain it.

    Python decodes such a name of a file to surrogates. That of the current folder is part of all relative paths.
    """
    here = [] if _folder_is_gone() else [("the current folder", str(Path.cwd()))]
    for what, name in [*(("the argument", word) for word in words), *here]:
        if without_surrogates(name) != name:
            raise UserError(
                f"{what} {name!r} is not text in the encoding of this process, "
                f"{sys.getfilesystemencoding()}. Rename the file or folder, or set LC_ALL=C.UTF-8 for a name in UTF-8"
            )


def _folder_is_gone() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


@cache
def command() -> TyperGroup:
    """All commands with their arguments and options."""
    app = typer.Typer(
        help="Caption images, split captions into sub-captions with object tags, and write shards that trainers read.",
        epilog="Start with: recaption init DIR, then recaption run DIR/pipelines/demo.yaml",
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for panel, functions in PANELS.items():
        for function in functions:
            app.command(rich_help_panel=panel)(function)
    return cast(TyperGroup, typer.main.get_command(app))


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"recaption {recaption.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit")
    ] = False,
) -> None:
    """Options of `recaption` itself."""


def _usage_error(error: TyperException, words: Sequence[str]) -> str:
    """The error in the command line, the most similar existing name, and the command that lists all names."""
    close = getattr(error, "possibilities", None)
    text = f"{error.message}. Did you mean {close[0]}?" if close else error.format_message()
    text = text.replace(": Value error, ", ": ")  # added by pydantic, with which typer converts values
    path = " ".join(("recaption", *(word for word in words[:1] if word in command().commands)))
    return f"{text}{'' if text.endswith(('.', '?')) else '.'} For usage: {path} --help"


def _failed(invocation: Invocation, code: int, text: str) -> int:
    """Print why a command ended, then end its display. Neither can fail."""
    console = Console(file=cast(IO[str], stdio.Unfailing(sys.stderr)), soft_wrap=True, highlight=False)
    *trace, last = text.splitlines() if "Traceback" in text else [text]
    for line in trace:
        console.print(line, markup=False)
    console.print("[yellow]interrupted:[/] " if code == Interrupted.exit_code else "[red]error:[/] ", end="")
    console.print(last, markup=False)
    invocation.failed(code, last)
    return code
