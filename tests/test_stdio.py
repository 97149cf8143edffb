"""Standard streams that no locale and no closed file can end: each command is tried under ASCII and latin-1."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from recaption import stdio
from recaption.cli import main
from recaption.progress import Display
from recaption.run import RunResult

ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden" / "output"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("golden") / "out"
    shutil.copytree(GOLDEN, target, symlinks=True)
    return target


def recaption(
    *words: str, encoding: str = "", redirect: str = "", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    if encoding:
        environment["PYTHONIOENCODING"] = encoding
    shell = f'exec "$@" {redirect}'
    return subprocess.run(
        ["bash", "-c", shell, "-", sys.executable, "-m", "recaption", *words],
        env=environment,
        capture_output=True,
        cwd=cwd,
        timeout=240,
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_symbols_become_similar_ascii_and_letters_their_escape(encoding: str) -> None:
    stdio.prepare()
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="recaption")
    file.write("a → b … ✓ ▁█ ⠋ 中 \udc80")
    file.flush()
    assert file.buffer.getvalue() == rb"a -> b ... + _# * \u4e2d \udc80"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 0),
        (["run", "--help"], 0),
        (["run", "nope→"], 2),
        (["run", "nope→", "--json"], 2),
        (["estimate", "nope→"], 2),
        (["doctor"], None),
        (["status", "OUT"], None),
        (["status", "OUT", "--json"], None),
        (["inspect", "OUT"], 0),
        (["inspect", "OUT", "--ask", "lengths"], 0),
        (["inspect", "OUT", "SELECT '中 → ·' AS x"], 0),
        (["inspect", "OUT", "SELECT '中 → ·' AS x", "--format", "json"], 0),
        (["report", "OUT", "-o", "r.html"], 0),
        (["validate", "OUT"], None),
        (["export", "OUT", "exported→", "--to", "flair"], 0),
        (["retry", "OUT", "--reason", "→"], 2),
        (["reproduce", "OUT", "→"], 2),
        (["init", "mine→"], 0),
        (["download", "nowhere→.txt", "x"], 2),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_every_command_works_under_old_locales(
    words: list[str], code: int | None, encoding: str, out: Path, tmp_path: Path
) -> None:
    done = recaption(*(str(out) if word == "OUT" else word for word in words), encoding=encoding, cwd=tmp_path)
    said = done.stdout + done.stderr
    assert b"Traceback" not in said and b"UnicodeEncodeError" not in said, said.decode(encoding)
    assert done.returncode in ((0, 1, 2) if code is None else (code,)), said.decode(encoding)
    if "SELECT '中 → ·' AS x" not in words:  # answers in a pipe are data: UTF-8 everywhere
        said.decode(encoding)
    if "--json" in words:
        done.stdout.decode("ascii")
        if words[0] == "run":
            assert json.loads(done.stdout.splitlines()[-1])["exit_code"] == 2


@pytest.mark.parametrize("redirect", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full", ">/dev/full 2>/dev/full"])
@pytest.mark.parametrize("words", [["run", "nope"], ["run", "nope", "--json"]])
def test_a_closed_or_full_stream_does_not_change_the_exit_code(words: list[str], redirect: str) -> None:
    done = recaption(*words, redirect=redirect)
    assert done.returncode == 2, done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_writes_to_a_closed_reader_are_dropped() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", closefd=False) as file:
        stream = stdio.Unfailing(file)
        stream.write("x" * 100_000)
        stream.flush()
        assert stream.gone
        stream.write("more")
        os.dup2(os.open(os.devnull, os.O_WRONLY), writing)  # so that closing the file can flush


def test_a_run_with_a_closed_display_ends_with_its_own_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Gone(io.StringIO):  # a terminal after SSH hung up
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def run(pipeline: object, path: object, display: Display, **options: object) -> RunResult:
        display.message("still here")
        display.building(1, 2)
        return RunResult(
            store_url=str(tmp_path),
            build=None,
            changed=True,
            answered=4,
            seconds=1.0,
            output_tokens=9,
            reject_share=0.9,
            sums=(),
        )

    monkeypatch.setattr("recaption.run.run", run)
    monkeypatch.setattr(sys, "stdout", Gone())
    monkeypatch.setattr(sys, "stderr", Gone())
    for options in ([], ["--json"]):
        assert main(["run", "column", *options]) == 1, "too many rejects"


UNBLOCKED = """
import signal, sys, time
from recaption import stdio, supervise
def command():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in range(5000):
        print(f"{number:05d}", "x" * 100)
    print("worked", file=sys.stderr, flush=True)
    return 0
stdio.prepare()
sys.exit(supervise.supervised(command, ["run"]))
"""


@pytest.mark.parametrize("kind", ["terminal", "pipe"])
@pytest.mark.parametrize("end", ["interrupt", "read"])
def test_a_reader_that_stops_reading_does_not_stop_the_command(kind: str, end: str) -> None:
    reader, writer = pty.openpty() if kind == "terminal" else os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", UNBLOCKED],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=writer,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    os.close(writer)
    try:
        assert process.stderr is not None and process.stderr.readline() == b"worked\n"
        if end == "interrupt":
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            process.send_signal(signal.SIGINT)
        else:
            read = b""
            with suppress(OSError):  # EIO: the other end of a terminal is closed
                while data := os.read(reader, 65536):
                    read += data
            assert b"04999 x" in read.splitlines()[-1], "the latest lines are kept"
            assert len(read.splitlines()) < 5000
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.communicate()
        os.close(reader)
