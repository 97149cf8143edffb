"""A prompt over open outputs: SQL that ends with `;`, named questions, history and completion by the TAB key."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

from recaption.errors import Abandoned, RecaptionError, UserError
from recaption.inspect import questions
from recaption.inspect.answering import print_question, read_words, show_sql
from recaption.inspect.connection import open_layout
from recaption.inspect.layout import Layout, find_all, names
from recaption.inspect.look import look_at
from recaption.inspect.query import run_sql
from recaption.inspect.safe import clean
from recaption.inspect.stoppable import closing
from recaption.inspect.summary import from_manifest, read_manifest
from recaption.inspect.table import print_answer
from recaption.inspect.views import VIEWS

_PROMPT, _MORE = "recaption> ", "       ..> "
_HISTORY = 2000  # lines
_HELP = """\
SELECT …;            SQL over the views, up to the semicolon; Ctrl-C stops it
.ask NAME [KEY]      a named question; .ask alone lists them
.show NAME [KEY]     its SQL, to learn from and to change
.views [NAME]        the views, or the columns of one
.look                the first look: what is there, with samples
.quit                leave (or Ctrl-D)"""
_WORDS = {"exit": ".quit", "quit": ".quit", "\\q": ".quit", "help": ".help"}  # as other shells have them
_KEYWORDS = """
SELECT FROM WHERE GROUP ORDER BY ALL LIMIT HAVING DISTINCT JOIN LEFT USING ON AND OR NOT IN LIKE ILIKE BETWEEN IS NULL
AS DESC ASC WITH UNION CASE WHEN THEN ELSE END EXISTS QUALIFY OVER PARTITION FILTER DESCRIBE SUMMARIZE EXPLAIN UNNEST
count sum avg min max median quantile_cont contains list_contains regexp_matches any_value round length lower substr
"""


class Shell:
    """One session. Raises UserError and DatasetError as `connect` when it is opened; what is typed raises nothing."""

    def __init__(self, paths: Sequence[str], console: Console, *, unsafe: bool = False) -> None:
        self._layouts = find_all(paths)
        self._console = console
        self._unsafe = unsafe
        self._connection = open_layout(*self._layouts, unsafe=unsafe)

    def run(self) -> None:
        """Read and answer until the user leaves."""
        self._greet()
        with closing(self._connection), _line_editing(self._words()):
            while True:
                try:
                    self._session()
                    return
                except Abandoned:
                    raise
                except KeyboardInterrupt:
                    self._console.print(Text("stopped", style="yellow"))

    def _session(self) -> None:
        for statement in _statements(self._console):
            try:
                if not self.answer(statement):
                    return
            except (UserError, RecaptionError) as error:
                self._console.print(Text(str(error), style="red"))

    def answer(self, statement: str) -> bool:
        """Do what one statement or command says; False when it says to leave. Raises UserError, KeyboardInterrupt."""
        command, *words = statement.split()
        if not command.startswith("."):
            self._print(statement.rstrip().removesuffix(";"))
        elif command in (".quit", ".exit", ".q"):
            return False
        elif command == ".ask" and words:
            self._ask(words)
        elif command == ".ask":
            for name in questions.names():
                self._console.print(Text.assemble((f"{name:<13}", "cyan"), questions.load(name).says))
        elif command == ".show" and words:
            show_sql(words, None, self._console)
        elif command == ".show":
            raise UserError(".show NAME prints a question's SQL; .ask lists the names")
        elif command == ".views":
            self._print(f'DESCRIBE "{words[0]}"' if words else "SHOW TABLES")
        elif command == ".look":
            look_at([layout.given for layout in self._layouts], self._console)
        elif command == ".help":
            self._console.print(Text(_HELP))
        else:
            raise UserError(f"{clean(statement)} is no command here; .help lists them")
        return True

    def _print(self, sql: str) -> None:
        # A cursor of its own: an answer that is not read to its end would block the connection.
        with closing(self._connection.cursor()) as connection:
            print_answer(run_sql(connection, sql, unsafe=self._unsafe), self._console)

    def _ask(self, words: Sequence[str]) -> None:
        question, given = read_words(words)
        values = question.values(given)
        if len(self._layouts) == 1:
            with closing(self._connection.cursor()) as connection:
                print_question(connection, self._layouts, question, values, self._console)
            return
        for dataset, layout in zip(names(self._layouts), self._layouts, strict=True):
            self._console.print(Text(clean(dataset), style="bold"))
            with closing(open_layout(layout, unsafe=self._unsafe)) as connection:
                print_question(connection, [layout], question, values, self._console)

    def _greet(self) -> None:
        for layout in self._layouts:
            self._console.print(_title(layout))
        hint = "SQL up to a semicolon, .ask for questions, .look for a first look, .help, .quit; TAB completes"
        self._console.print(Text(hint, style="dim"))

    def _words(self) -> list[str]:
        """What the TAB key knows."""
        columns = self._connection.execute("SELECT DISTINCT column_name FROM duckdb_columns() WHERE NOT internal")
        commands = [".ask", ".show", ".views", ".look", ".help", ".quit"]
        return [*commands, *VIEWS, *(name for (name,) in columns.fetchall()), *questions.names(), *_KEYWORDS.split()]


def _title(layout: Layout) -> Text:
    if layout.build is None:
        return Text.assemble((clean(layout.given), "bold"), " · a run that has no build yet")
    s = from_manifest(read_manifest(layout))
    counts = (("images", s.images), ("captions", s.captions), ("sub-captions", s.sub_captions), ("objects", s.tags))
    return Text.assemble((clean(s.name), "bold"), *(f" · {number:,} {name}" for name, number in counts))


def _statements(console: Console) -> Iterator[str]:
    """What the user types: commands, and SQL put together up to its semicolon."""
    lines: list[str] = []
    while True:
        try:
            line = input(_MORE if lines else _PROMPT)
        except EOFError:
            console.print()
            return
        except KeyboardInterrupt:  # what was typed so far is dropped
            console.print()
            lines = []
            continue
        if not lines and (line.strip().startswith(".") or line.strip().lower() in _WORDS):
            yield _WORDS.get(line.strip().lower(), line.strip())
            continue
        lines += [line] if line.strip() else []
        if line.rstrip().endswith(";"):
            statement, lines = "\n".join(lines), []
            if statement.strip("; \n"):
                yield statement


@contextmanager
def _line_editing(words: Iterable[str]) -> Iterator[None]:
    try:
        import readline
    except ImportError:  # Python was built without it: lines can still be typed
        yield
        return
    known = sorted(set(words), key=str.lower)
    history = _history()

    def complete(text: str, state: int) -> str | None:
        found = [word for word in known if word.lower().startswith(text.lower())]
        return found[state] if state < len(found) else None

    readline.set_completer_delims(" \t\n;,()=<>'\"+*/")
    readline.set_completer(complete)
    readline.parse_and_bind("bind ^I rl_complete" if "libedit" in (readline.__doc__ or "") else "tab: complete")
    if history.is_file():
        readline.read_history_file(history)
    try:
        yield
    finally:
        readline.set_completer(None)
        try:
            history.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            readline.set_history_length(_HISTORY)
            readline.write_history_file(history)
        except OSError:  # a home that cannot be written is no reason to fail at the end
            pass


def _history() -> Path:
    """In the user's state folder: https://specifications.freedesktop.org/basedir-spec/"""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "recaption" / "inspect-history"
