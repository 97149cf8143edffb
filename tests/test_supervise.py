"""The parent of a command: it forwards signals once, reports an end that the driver did not, and leaves no process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest
from killed_run import until_taken

from recaption import supervise

ROOT = Path(__file__).parent.parent

PROGRAM = """
import os, signal, subprocess, sys, time
from recaption import stdio, supervise
from recaption.supervise import stop_requested
def command():
    {body}
stdio.prepare()
sys.exit(supervise.supervised(command, sys.argv[1:]))
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """`start(body, *words)`: the lines of `body` are the command; it prints `ready` when it may be disturbed."""
    started: list[subprocess.Popen[str]] = []

    def begin(body: str, *words: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
        code = PROGRAM.replace("{body}", body.replace("\n", "\n    "))
        process = subprocess.Popen(
            [*before, sys.executable, "-c", code, *(words or ("run",))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def ready(process: subprocess.Popen[str]) -> psutil.Process:
    """The driver, once it works."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return psutil.Process(process.pid).children()[0]


READY = "print('ready', flush=True)\n"
WAITS = READY + "time.sleep(60)"
DRAINS = f"""with stop_requested() as stopping:
    {READY}    while not stopping(): time.sleep(0.01)
    print('draining', flush=True)
    time.sleep(0.5)
supervise.summary_written()
return 75"""


@pytest.mark.parametrize("code", [0, 1, 2, 3, 75])
def test_the_exit_code_is_that_of_the_command(start: Start, code: int) -> None:
    process = start(f"supervise.summary_written(); return {code}")
    assert process.communicate(timeout=120) == ("", "") and process.returncode == code


def test_the_parent_writes_a_missing_summary(start: Start) -> None:
    out, err = (process := start("return 75")).communicate(timeout=120)
    assert (out, err, process.returncode) == (
        "summary: exit code 75, interrupted; the same command continues\n",
        "",
        75,
    )
    assert start("return 75", "run", "--quiet").communicate(timeout=120) == ("", "")
    assert start("return 0").communicate(timeout=120) == ("", "")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os.abort()", "was ended by SIGABRT"),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL (by hand, or because the machine ran out of memory)"),
        ("os._exit(1)", "was ended with code 1 by a library"),
        ("os._exit(0)", "was ended with code 0 by a library"),
        (
            "supervise.divert_native_stderr(); os.write(2, b'W rpc.h: Failed to connect to GCS'); os._exit(1)",
            "Ray's control service (gcs_server) does not answer",
        ),
    ],
)
def test_an_end_without_a_report_is_an_infrastructure_failure_with_a_summary(
    start: Start, body: str, words: str
) -> None:
    out, err = (process := start(body)).communicate(timeout=120)
    assert process.returncode == 3
    assert err.startswith("error: ") and words in err and "run the same command again to continue" in err
    assert out == "summary: exit code 3, infrastructure failed; the same command continues\n"
    out, err = (process := start(body, "run", "--json")).communicate(timeout=120)
    summary = json.loads(out)
    assert (process.returncode, summary["event"], summary["exit_code"]) == (3, "summary", 3)
    assert words in summary["error"] and out.isascii()
    out, err = start(body, "run", "--quiet").communicate(timeout=120)
    assert out == "" and words in err


def test_the_log_of_raylet_names_the_agent_that_ended(start: Start, tmp_path: Path) -> None:
    log = "(raylet) agent_manager.cc:87: The raylet exited immediately because one Ray agent failed, "
    (tmp_path / "raylet.out").write_text(f"{log}agent_name = runtime_env_agent.\nThe raylet fate shares with it.\n")
    _, err = start(f"supervise.ray_started({str(tmp_path)!r}); os._exit(1)").communicate(timeout=120)
    assert "because Ray's runtime env agent did" in err


def test_a_recorded_exit_code_counts_even_if_the_exit_crashes(start: Start) -> None:
    process = start("import atexit; atexit.register(os.abort); return 0")
    assert process.communicate(timeout=120) == ("", "") and process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("whom", ["parent", "driver", "group"])
def test_before_the_work_starts_a_signal_ends_the_process_at_once(start: Start, number: int, whom: str) -> None:
    process = start(WAITS)
    driver = ready(process)
    send(process, driver, whom, number)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 75
    assert err == "interrupted: stopped at once; run the same command again to continue\n"
    assert out == "summary: exit code 75, interrupted; the same command continues\n"


def send(process: subprocess.Popen[str], driver: psutil.Process, whom: str, number: int) -> None:
    if whom == "group":
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid if whom == "parent" else driver.pid, number)


@pytest.mark.parametrize("whom", ["parent", "driver", "group"])
def test_one_interrupt_drains_and_is_not_counted_twice(start: Start, whom: str) -> None:
    process = start(DRAINS)
    send(process, ready(process), whom, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (out, err, process.returncode) == ("draining\n", "", 75)


@pytest.mark.parametrize("whom", ["parent", "driver", "group"])
def test_the_second_interrupt_stops_the_command_at_once(start: Start, whom: str) -> None:
    # in short steps, as the driver waits: see `stop_requested`
    body = DRAINS.replace("time.sleep(0.5)", "while True: time.sleep(0.01)")
    body = "try:\n    " + body.replace("\n", "\n    ") + "\nexcept KeyboardInterrupt:\n    return 75"
    process = start(body)
    driver = ready(process)
    send(process, driver, whom, signal.SIGINT)
    assert process.stdout is not None and process.stdout.readline() == "draining\n"
    until_taken(process.pid, signal.SIGINT)
    send(process, driver, whom, signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 75


def test_a_copy_that_arrives_after_the_work_is_not_another_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "_shared", supervise._Shared(stderr=1))
    monkeypatch.setattr(supervise, "_interrupts", supervise.Interrupts())
    before = signal.getsignal(signal.SIGINT)
    try:
        supervise.at_work()
        with supervise.stop_requested() as stopping:
            signal.raise_signal(signal.SIGINT)
            assert stopping()
        supervise._shared.forwarded += 1  # by a parent that had to wait for a processor
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_under_nohup_a_closed_terminal_has_no_effect(start: Start, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    body = f"{READY}while not os.path.exists({str(sent)!r}): time.sleep(0.01)\nreturn 0"
    process = start(body, before=["nohup"])
    send(process, ready(process), "group", signal.SIGHUP)
    sent.touch()
    process.communicate(timeout=120)
    assert process.returncode == 0


@pytest.mark.parametrize("victim", ["parent", "driver", "group"])
def test_processes_of_the_driver_end_with_the_driver_the_parent_or_both(start: Start, victim: str) -> None:
    sleeper = "[sys.executable, '-c', 'import time; time.sleep(600)']"
    quiet = "stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL"
    process = start(f"subprocess.Popen({sleeper}, start_new_session=True, {quiet})\n{WAITS}")
    driver = ready(process)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) == 2
    send(process, driver, victim, signal.SIGKILL)
    _, left = psutil.wait_procs(family, timeout=120)
    assert not left


@pytest.mark.parametrize("words", [["run", "nope"], ["inspect", "/nowhere"], ["validate", "/nowhere"]])
def test_an_interrupt_during_imports_leaves_no_traceback(words: list[str], tmp_path: Path) -> None:
    slow = tmp_path / "rich"  # the first package that the command line imports
    slow.mkdir()
    (slow / "__init__.py").write_text("import sys, time; print('ready', flush=True)\nwhile True: time.sleep(0.01)")
    process = subprocess.Popen(
        [sys.executable, "-m", "recaption", *words],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75
    assert err == "interrupted: stopped at once; run the same command again to continue\n"
