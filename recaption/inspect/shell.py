"""The interactive shell: SQL statements and commands over open outputs."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.text import Text

from recaption.errors import Abandoned, RecaptionError, UserError
from recaption.formatting import printable
from recaption.inspect import questions
from recaption.inspect.connection import open_outputs
from recaption.inspect.overview import print_overviews
from recaption.inspect.paths import OutputPaths, find_all, names
from recaption.inspect.query import run_sql
from recaption.inspect.results import parse_question, print_question_result, show_sql
from recaption.inspect.stoppable import closing
from recaption.inspect.summary import from_manifest, read_manifest
from recaption.inspect.table import print_result
from recaption.inspect.views import VIEWS
from recaption.signals import Rounds, duckdb_interrupts

_PROMPT, _MORE = "recaption> ", "       ..> "
_HELP = """\
SELECT …;            run SQL over the views; it may have several lines and ends with a semicolon
.ask NAME [KEY]      run a named question; .ask alone lists them
.show NAME [KEY]     print the SQL of a named question
.views [NAME]        list the views, or the columns of one view
.overview            print counts, lengths and samples
help                 print this text; the statement that you are typing is kept
quit, exit           leave
TAB completes · Up and Ctrl-R find earlier statements · Ctrl-C cancels the query or the input · Ctrl-D leaves"""
_COMMANDS = (".ask", ".show", ".views", ".overview", ".help", ".quit")
_WORDS = {"help": ".help", "?": ".help", "quit": ".quit", "exit": ".quit", "q": ".quit"}
_KEYWORDS = """
SELECT FROM WHERE GROUP ORDER BY ALL LIMIT HAVING DISTINCT JOIN LEFT USING ON AND OR NOT IN LIKE ILIKE BETWEEN IS NULL
AS DESC ASC WITH UNION CASE WHEN THEN ELSE END EXISTS QUALIFY OVER PARTITION FILTER DESCRIBE SUMMARIZE EXPLAIN UNNEST
count sum avg min max median quantile_cont contains list_contains regexp_matches any_value round length lower substr
"""


class Shell:
    """One session. Opening it raises UserError and DatasetError as `connect` does; errors of input are printed."""

    def __init__(self, paths: Sequence[str], console: Console, *, unsafe: bool = False) -> None:
        self._layouts = find_all(paths)
        self._console = console
        self._unsafe = unsafe
        self._connection = open_outputs(*self._layouts, unsafe=unsafe)

    def run(self) -> None:
        """Run statements and commands until the user leaves or the input ends. Raises Abandoned."""
        self._greet()
        read = _prompt(self._words()) if sys.stdin.isatty() else _read_line
        pending, rounds = "", Rounds()
        with closing(self._connection), rounds.handled():
            while True:
                try:
                    with rounds.round(), duckdb_interrupts():
                        statement, pending = split(read(pending))
                        if statement.strip("; \n") and not self.answer(statement):
                            return
                except EOFError:
                    return
                except (UserError, RecaptionError) as error:
                    self._console.print(Text(str(error), style="red"))
                except Abandoned:
                    raise
                except KeyboardInterrupt:
                    pending = ""
                    self._console.print(Text("cancelled", style="yellow"))

    def answer(self, statement: str) -> bool:
        """Run one statement or command; False means that the user leaves. Raises UserError and KeyboardInterrupt."""
        command, *words = statement.split()
        if not command.startswith("."):
            self._print(statement.rstrip().removesuffix(";"))
        elif command == ".quit":
            return False
        elif command == ".ask" and words:
            self._ask(words)
        elif command == ".ask":
            for name in questions.names():
                self._console.print(Text.assemble((f"{name:<13}", "cyan"), questions.load(name).description))
        elif command == ".show" and words:
            show_sql(words, None, self._console)
        elif command == ".show":
            raise UserError(".show NAME prints a question's SQL; .ask lists the names")
        elif command == ".views":
            self._print(f'DESCRIBE "{words[0]}"' if words else "SHOW TABLES")
        elif command == ".overview":
            print_overviews([output.given for output in self._layouts], self._console)
        elif command == ".help":
            self._console.print(Text(_HELP))
        else:
            raise UserError(f"{printable(statement)} is not a command; help lists them")
        return True

    def _print(self, sql: str) -> None:
        # A separate cursor: an answer that is not read to its end would block the connection.
        with closing(self._connection.cursor()) as connection:
            print_result(run_sql(connection, sql, unsafe=self._unsafe), self._console)

    def _ask(self, words: Sequence[str]) -> None:
        question, given = parse_question(words)
        values = question.values(given)
        if len(self._layouts) == 1:
            with closing(self._connection.cursor()) as connection:
                print_question_result(connection, self._layouts, question, values, self._console)
            return
        for dataset, output in zip(names(self._layouts), self._layouts, strict=True):
            self._console.print(Text(printable(dataset), style="bold"))
            with closing(open_outputs(output, unsafe=self._unsafe)) as connection:
                print_question_result(connection, [output], question, values, self._console)

    def _greet(self) -> None:
        for output in self._layouts:
            self._console.print(_title(output))
        hint = "SQL up to a semicolon · .ask for questions · .overview for counts and samples · help · quit"
        self._console.print(Text(hint, style="dim"))

    def _words(self) -> list[str]:
        """What the TAB key completes."""
        columns = self._connection.execute("SELECT DISTINCT column_name FROM duckdb_columns() WHERE NOT internal")
        known = [name for (name,) in columns.fetchall() if printable(name) == name]
        return sorted({*_COMMANDS, *VIEWS, *known, *questions.names(), *_KEYWORDS.split(), "help", "quit"})


def _title(output: OutputPaths) -> Text:
    if output.build is None:
        return Text.assemble((printable(output.given), "bold"), " · a run that has no build yet")
    summary = from_manifest(read_manifest(output))
    return Text.assemble((printable(summary.name), "bold"), f" · {summary.counts}")


def command_of(line: str) -> str | None:
    """The command in a line of input: `.ask tags`; `help`, `quit` and `exit` also without a dot or with a semicolon."""
    line = line.strip().rstrip("; ")
    if command := _WORDS.get(line.lower().strip(".\\")):
        return command
    return line if line.split(" ", 1)[0] in _COMMANDS else None


def split(text: str) -> tuple[str, str]:
    """The statement or command that `text` completes ("" if none) and the text that remains to be completed."""
    before, _, last = text.rpartition("\n")
    if command := command_of(last):
        return command, before
    if text.lstrip().startswith(".") or text.rstrip().endswith(";"):
        return text.strip(), ""
    return "", text


def _read_line(pending: str) -> str:
    """The incomplete statement so far, with one more line."""
    line = input(_MORE if pending.strip() else _PROMPT)
    return f"{pending}\n{line}" if pending.strip() else line


def _prompt(words: Sequence[str]) -> Callable[[str], str]:
    """Reads from the terminal with editing, completion of `words`, and a history in the user's state folder.

    https://specifications.freedesktop.org/basedir-spec/
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.enums import DEFAULT_BUFFER
    from prompt_toolkit.filters import Condition, has_focus
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

    bindings = KeyBindings()
    blank_line = Condition(lambda: not session.default_buffer.document.current_line.strip())

    @bindings.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def _(event: KeyPressEvent) -> None:
        text = event.current_buffer.text
        if split(text)[0] or not text.strip():
            signals.clear()  # they came before Enter, so they are not for this statement
            event.current_buffer.validate_and_handle()
        else:
            event.current_buffer.insert_text("\n")

    @bindings.add("c-d", filter=has_focus(DEFAULT_BUFFER) & blank_line)
    def _(event: KeyPressEvent) -> None:
        event.app.exit(exception=EOFError, style="class:exiting")

    file = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "recaption" / "inspect-history"
    writable = False
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.touch(mode=0o600)
        writable = os.access(file, os.R_OK | os.W_OK)
    session: PromptSession[str] = PromptSession(
        _PROMPT,
        multiline=True,
        prompt_continuation=_MORE,
        completer=WordCompleter(words, ignore_case=True, pattern=re.compile(r"[\w.\\-]+")),
        complete_while_typing=False,
        history=FileHistory(file) if writable else InMemoryHistory(),
        key_bindings=bindings,
    )

    signals: list[int] = []

    def read(pending: str) -> str:
        # While the user types, the terminal sends Ctrl-C as a key. A signal comes before that, when there is no input
        # to cancel yet, or after Enter, when it cancels the statement.
        signals.clear()
        handler = signal.signal(signal.SIGINT, lambda number, _: signals.append(number))
        try:
            text = session.prompt(default=pending, handle_sigint=False)
        finally:
            signal.signal(signal.SIGINT, handler)
        if signals:
            raise KeyboardInterrupt
        return text

    return read
