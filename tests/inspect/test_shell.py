"""The shell, in a real terminal of its own and in this process."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from recaption.errors import UserError
from recaption.inspect import Shell

PROMPT = "recaption> "
ENDLESS = "SELECT count(*) FROM range(100000000) a, range(100000) b WHERE (a.range * b.range) % 7 = 3;\n"


# In a session of its own, with the terminal in front of it as its own: that is what Ctrl-C goes to.
TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """`recaption inspect` on a pseudo-terminal."""

    def __init__(self, home: Path, *arguments: str) -> None:
        environment = {**os.environ, "TERM": "xterm", "XDG_STATE_HOME": str(home), "COLUMNS": "100"}
        command = [sys.executable, "-c", TAKE_TERMINAL, sys.executable, "-m", "recaption", "inspect", *arguments]
        self._fd, theirs = pty.openpty()
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True
        )
        os.close(theirs)
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def until(self, text: str, seconds: float = 60) -> str:
        """What was printed up to `text`."""
        end = time.monotonic() + seconds
        while text not in self._seen:
            assert time.monotonic() < end, f"waited for {text!r}: {self._seen}"
            ready, _, _ = select.select([self._fd], [], [], 0.1)
            if ready:
                self._seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", os.read(self._fd, 65536).decode())
        found, _, self._seen = self._seen.partition(text)
        return found

    def reads(self) -> None:
        """Waits until the process sleeps: Python misses a Ctrl-C between the prompt and its wait for input."""
        stat = Path(f"/proc/{self._process.pid}/stat")
        end = time.monotonic() + 60
        while stat.exists() and stat.read_text("utf-8").rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < end, "the process never waits for input"
            time.sleep(0.01)

    def wait(self) -> int:
        """Its exit code."""
        return self._process.wait(60)

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
    terminal.until("..> ")
    terminal.type("FROM sub_capt\t;\n")  # completed
    assert "12" in terminal.until(PROMPT).partition("sub_captions")[2]
    terminal.type(ENDLESS)
    terminal.until("= 3;\r\n")
    time.sleep(0.3)  # it must be at work
    terminal.type("\x03")
    assert "stopped" in terminal.until(PROMPT)
    terminal.type("SELEKT 1;\n")
    assert "syntax error" in terminal.until(PROMPT)
    terminal.type("half of a statement\n")
    terminal.until("..> ")
    terminal.reads()
    terminal.type("\x03")
    terminal.until(PROMPT)
    terminal.type(".ask coverage\n")
    assert "percent_at_least" in terminal.until(PROMPT)
    terminal.type("\x04")
    assert terminal.wait() == 0
    history = (tmp_path / "state" / "recaption" / "inspect-history").read_text("utf-8")
    assert ".ask coverage" in history and "FROM sub_captions;" in history


def test_ctrl_c_pressed_again_and_again(terminal: Terminal) -> None:
    terminal.until(PROMPT)
    terminal.type(ENDLESS)
    terminal.until("= 3;\r\n")
    time.sleep(0.3)
    for _ in range(5):
        terminal.type("\x03")
    assert "stopped" in terminal.until(PROMPT)
    terminal.type("SELECT 40 + 2 AS n;\n")
    terminal.until("42")
    terminal.until(PROMPT)
    terminal.type("help\n")
    assert "Ctrl-D" in terminal.until(PROMPT)
    terminal.type("exit\n")
    assert terminal.wait() == 0


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
        (".look", "words per caption"),
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
