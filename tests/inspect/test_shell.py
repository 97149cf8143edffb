"""The shell, in a real terminal of its own and in this process."""

from __future__ import annotations

import codecs
import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from recaption.errors import UserError
from recaption.inspect import Shell
from recaption.inspect.shell import command_of

PROMPT = "recaption>"
ENDLESS = "SELECT count(*) FROM range(100000000) a, range(100000) b WHERE (a.range * b.range) % 7 = 3;\n"


# In a session of its own, with the terminal in front of it as its own: that is what Ctrl-C goes to.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """`recaption inspect` on a pseudo-terminal."""

    def __init__(self, home: Path, *arguments: str) -> None:
        environment = {**os.environ, "TERM": "xterm", "XDG_STATE_HOME": str(home), "COLUMNS": "100"}
        environment["PROMPT_TOOLKIT_NO_CPR"] = "1"  # nothing answers its query for the cursor's position
        command = [sys.executable, "-c", TAKE_TERMINAL, sys.executable, "-m", "recaption", "inspect", *arguments]
        self._fd, theirs = pty.openpty()
        modes = termios.tcgetattr(theirs)
        modes[3] |= termios.NOFLSH  # a Ctrl-C drops nothing that was printed and not read yet
        termios.tcsetattr(theirs, termios.TCSANOW, modes)
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end within a character
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def until(self, text: str) -> str:
        """What was printed up to `text`."""
        end = time.monotonic() + 120
        while text not in self._seen:
            assert time.monotonic() < end, f"waited for {text!r}: {self._seen}"
            self.read()
        found, _, self._seen = self._seen.partition(text)
        return found

    def read(self) -> None:
        ready, _, _ = select.select([self._fd], [], [], 0.1)
        if ready:
            self._seen += self._decoder.decode(os.read(self._fd, 65536))
            self._seen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self._seen)  # also one that two reads cut

    def works(self) -> None:
        """Waits until the program runs a statement: the terminal then turns Ctrl-C into a signal."""
        end = time.monotonic() + 120
        while not termios.tcgetattr(self._fd)[3] & termios.ISIG:
            assert time.monotonic() < end, "the statement never runs"
            self.read()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        """Its exit code."""
        return self._process.wait(120)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._fd)


@pytest.fixture
def terminal(dataset: Path, tmp_path: Path) -> Iterator[Terminal]:
    opened = Terminal(tmp_path / "state", str(dataset))
    yield opened
    opened.close()


def test_a_session(terminal: Terminal, tmp_path: Path) -> None:
    assert "tiny · 6 images · 8 captions" in terminal.until(PROMPT)
    terminal.type("SELECT count(*) AS n\n")
    terminal.until("..>")
    terminal.type("FROM sub_capt\t")
    terminal.until("sub_captions")  # completed
    terminal.type(";\n")
    assert "12" in terminal.until("1 row")
    terminal.until(PROMPT)
    terminal.type(ENDLESS)
    terminal.works()
    terminal.type("\x03")
    terminal.until("cancelled")
    terminal.until(PROMPT)
    terminal.type("SELEKT 1;\n")
    terminal.until("syntax error")
    terminal.until(PROMPT)
    terminal.type("half of a statement\n")
    terminal.until("..>")
    terminal.type("\x03")
    terminal.until(PROMPT)
    terminal.type(".ask coverage\n")
    terminal.until("percent_at_least")
    terminal.until(PROMPT)
    terminal.type("\x04")
    assert terminal.wait() == 0
    history = (tmp_path / "state" / "recaption" / "inspect-history").read_text("utf-8")
    assert ".ask coverage" in history and "FROM sub_captions;" in history


def test_ctrl_c_pressed_again_and_again(terminal: Terminal) -> None:
    terminal.until(PROMPT)
    terminal.type(ENDLESS)
    terminal.works()
    for _ in range(5):
        terminal.type("\x03")
    terminal.until("cancelled")
    terminal.until(PROMPT)
    terminal.type("SELECT 40 + 2 AS n;\n")
    terminal.until("42")
    terminal.until(PROMPT)
    terminal.type("help\n")
    terminal.until("Ctrl-D leaves")
    terminal.until(PROMPT)
    terminal.type("exit\n")
    assert terminal.wait() == 0


def test_ctrl_c_held_down_does_not_end_the_session(terminal: Terminal) -> None:
    for _ in range(3):
        terminal.until(PROMPT)
        terminal.type(ENDLESS)
        terminal.works()
        for _ in range(100):
            terminal.type("\x03")
            time.sleep(0.002)
        terminal.type("SELECT 40 + 2 AS n;\n")  # it comes after the last presses, which cancel an empty input
        assert "cancelled" in terminal.until("42")
    terminal.until(PROMPT)
    terminal.type("exit\n")
    assert terminal.wait() == 0


def test_a_signal_before_a_statement_does_not_cancel_it(terminal: Terminal) -> None:
    terminal.until(PROMPT)
    terminal.type("SELECT 40 + 2 AS n")
    terminal.until("AS n")  # printed by the editor, so the signal comes while it waits
    terminal.signal(signal.SIGINT)
    time.sleep(0.1)
    terminal.type(";\n")
    assert "cancelled" not in terminal.until("42")


def test_a_ctrl_c_that_duckdb_turns_into_an_error_cancels_the_statement(
    shell: tuple[Shell, io.StringIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, file = shell
    answered = iter([RuntimeError("Query interrupted")])

    def answer(statement: str) -> bool:
        for error in answered:
            raise error
        return real(statement)

    real = opened.answer
    monkeypatch.setattr(opened, "answer", answer)
    monkeypatch.setattr("sys.stdin", io.StringIO("SELECT 1;\nSELECT 40 + 2;\n"))
    opened.run()
    assert file.getvalue().index("cancelled") < file.getvalue().index("42")


def test_help_and_quit_in_the_middle_of_a_statement(terminal: Terminal) -> None:
    terminal.until(PROMPT)
    terminal.type("SELECT 40 + 2 AS n,\n")
    terminal.until("..>")
    terminal.type("help;\n")
    terminal.until("Ctrl-D leaves")
    terminal.until("SELECT 40 + 2 AS n,")  # the statement is kept
    terminal.type("\n7 AS m;\n")
    assert "42  7" in terminal.until("1 row")
    terminal.until(PROMPT)
    terminal.type("SELECT\n")
    terminal.until("..>")
    terminal.type(".quit\n")
    assert terminal.wait() == 0


def test_ctrl_d_leaves_an_unfinished_statement(terminal: Terminal) -> None:
    terminal.until(PROMPT)
    terminal.type("SELECT\n")
    terminal.until("..>")
    terminal.type("\x04")
    assert terminal.wait() == 0


def test_history_of_an_earlier_session_is_searched(dataset: Path, tmp_path: Path) -> None:
    first = Terminal(tmp_path / "state", str(dataset))
    first.until(PROMPT)
    first.type("SELECT 6 * 7 AS n;\n")
    first.until("1 row")
    first.until(PROMPT)
    first.type("quit\n")
    assert first.wait() == 0
    first.close()
    second = Terminal(tmp_path / "state", str(dataset))
    second.until(PROMPT)
    second.type("\x126 *")  # Ctrl-R
    second.until("6 * 7")
    second.type("\n\n")  # take it, run it
    assert "42" in second.until("1 row")
    second.close()


def test_a_history_that_cannot_be_written_is_not_needed(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    terminal = Terminal(tmp_path / "state", str(dataset))
    terminal.until(PROMPT)
    terminal.type("SELECT 6 * 7 AS n;\n")
    assert "42" in terminal.until("1 row")
    terminal.close()


def test_input_from_a_pipe(
    shell: tuple[Shell, io.StringIO], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened, file = shell
    monkeypatch.setattr(
        "sys.stdin", io.StringIO("SELECT 40 + 2\nhelp\nAS n;\nSELEKT;\nSELECT\nexit.\nSELECT 43 AS m;\n")
    )
    opened.run()
    output = file.getvalue()
    assert output.index("Ctrl-D leaves") < output.index("42") < output.index("syntax error") and "43" not in output


@pytest.mark.parametrize(
    ("line", "command"),
    [
        *((text, ".help") for text in ("help", "HELP;", " .help ", ".help;", "help.", "?", "\\?")),
        *((text, ".quit") for text in ("quit", "exit", "quit;", ".exit", "exit.", "EXIT ;", "\\q")),
        (".ask tags;", ".ask tags"),
        ("  .views", ".views"),
        *((text, None) for text in ("", ".5", "quit now", "helpful", "SELECT 1;", ".asking")),
    ],
)
def test_commands_are_recognised_with_and_without_dot_and_semicolon(line: str, command: str | None) -> None:
    assert command_of(line) == command


@pytest.fixture
def shell(dataset: Path) -> Iterator[tuple[Shell, io.StringIO]]:
    file = io.StringIO()
    yield Shell([str(dataset)], Console(file=file, width=100, force_terminal=True, color_system=None)), file


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("SELECT 41 + 1 AS n;", "42"),
        (".ask", "tag-pairs"),
        (".ask tags", "mentions"),
        (".ask image a0", "sub-captions"),
        (".show similar a0", "key = 'a0'"),
        (".views", "sub_captions"),
        (".views tags", "lemma"),
        (".overview", "words per caption"),
        (".help", "Ctrl-D"),
    ],
)
def test_commands(shell: tuple[Shell, io.StringIO], typed: str, shown: str) -> None:
    opened, file = shell
    assert opened.answer(typed)
    assert shown in file.getvalue()


def test_an_answer_that_was_not_read_to_its_end_is_in_nobodys_way(shell: tuple[Shell, io.StringIO]) -> None:
    opened, file = shell
    for _ in range(2):
        assert opened.answer("FROM range(1000000);")
    assert file.getvalue().count("first 50 of more than") == 2


@pytest.mark.parametrize(
    "typed", [".nope", ".show", ".ask nope", ".ask image", "COPY (SELECT 1) TO 'x.csv';", ".views x"]
)
def test_what_it_does_not_do(shell: tuple[Shell, io.StringIO], typed: str) -> None:
    with pytest.raises(UserError):
        shell[0].answer(typed)
    assert shell[0].answer(".quit") is False
