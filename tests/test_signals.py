"""Signals to a command without a parent process: exit code 75, one line, no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from recaption import signals

ROOT = Path(__file__).parent.parent
FIRST_LINES = """
import recaption.__main__, sys, time; from recaption import signals
def wait():  # in short steps: CPython misses a signal that arrives just before a blocking system call, until that ends
    while True: time.sleep(0.01)
"""


def end(body: str, *numbers: int, before: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit code and standard error of a program that gets these signals, each once it has printed a line."""
    process = subprocess.Popen(
        [*before, sys.executable, "-c", FIRST_LINES + body],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for number in numbers:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            process.send_signal(number)
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, err


def test_no_test_imports_the_command_line_program() -> None:
    """Its first line installs the handlers: a Ctrl-C that another test sends to itself would end the test process."""
    assert "recaption.__main__" not in sys.modules


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_the_command_starts_prints_one_line(number: int) -> None:
    code, err = end("print('ready', flush=True); wait()", number)
    assert (code, err) == (75, "interrupted: stopped at once; run the same command again to continue\n")


INTERRUPTIBLE = """
try:
    with signals.interruptible():
        {}
except KeyboardInterrupt:
    print("cleaned up", file=sys.stderr)
"""


def test_ctrl_c_raises_in_interruptible_code() -> None:
    body = INTERRUPTIBLE.format("print('ready', flush=True); wait()")
    assert end(body, signal.SIGINT) == (0, "cleaned up\n")


@pytest.mark.parametrize(
    ("number", "ended"),
    [
        (signal.SIGINT, (0, "cleaned up\n")),
        (signal.SIGTERM, (75, "interrupted: stopped at once; run the same command again to continue\n")),
    ],
)
def test_during_a_query_in_the_main_thread_a_signal_raises_the_same(number: int, ended: tuple[int, str]) -> None:
    endless = "SELECT count(*) FROM range(100000000) a, range(100000) b WHERE (a.range * b.range) % 7 = 3"
    query = f"print('ready', flush=True); duckdb.execute('{endless}')"
    assert end("import duckdb" + INTERRUPTIBLE.format(f"with signals.duckdb_interrupts(): {query}"), number) == ended


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="another"), signals.duckdb_interrupts():
        raise RuntimeError("another")


def test_ctrl_c_ends_an_import_at_once(tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text("import __main__\nprint('ready', flush=True)\n__main__.wait()\n")
    body = INTERRUPTIBLE.format(f"sys.path.append({str(tmp_path)!r}); import slow_module")
    assert end(body, signal.SIGINT) == (75, "interrupted: stopped at once; run the same command again to continue\n")


def test_ctrl_c_after_interruptible_code_ends_the_process_at_once() -> None:
    body = INTERRUPTIBLE.format("pass") + "print('ready', flush=True); wait()"
    assert end(body, signal.SIGINT) == (75, "interrupted: stopped at once; run the same command again to continue\n")


def test_sigquit_ends_the_process_without_a_core_file() -> None:
    assert end("print('ready', flush=True); wait()", signal.SIGQUIT) == (75, "")


def test_the_first_sigterm_cleans_up_and_the_second_does_not_wait() -> None:
    body = """
try:
    print('ready', flush=True); wait()
finally:
    print('ready', flush=True); wait()
"""
    code, err = end(body, signal.SIGTERM, signal.SIGTERM)
    assert (code, err) == (75, "interrupted: stopped at once; run the same command again to continue\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_after_the_end_of_a_command_a_signal_does_not_change_its_code(number: int) -> None:
    assert end("signals.at_end(1); print('ready', flush=True); wait()", number) == (1, "")


def test_ignored_signals_stay_ignored() -> None:
    body = "print('ready', flush=True); time.sleep(0.5)"
    assert end(body, signal.SIGHUP, before=("nohup",))[0] == 0


ROUNDS = """
import io, os, signal, threading, time
from recaption.signals import Rounds
rounds, ended, raised = Rounds(), threading.Event(), 0
def press():
    pressed = 0
    while pressed < 200 or raised < 20:
        os.kill(os.getpid(), signal.SIGINT)
        pressed += 1
        time.sleep(0.0001)
    ended.set()
with rounds.handled():
    threading.Thread(target=press).start()
    while not ended.is_set():
        try:
            with rounds.round():
                sum(range(100))
        except KeyboardInterrupt:
            raised += 1
            print("cancelled", file=io.StringIO())
print(raised >= 20, signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_ctrl_c_pressed_hundreds_of_times_ends_rounds_and_not_the_loop() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ROUNDS], env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("True True\n", "")


def test_a_round_is_not_interrupted_during_an_import(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGINT); done = True\n")
    body = """
import sys; sys.path.insert(0, sys.argv[1])
from recaption.signals import Rounds
rounds = Rounds()
with rounds.handled(), rounds.round():
    import slow
print(slow.done)
"""
    done = subprocess.run(
        [sys.executable, "-c", body, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
