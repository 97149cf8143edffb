"""Runs the statements of the viewer in another process (`process`), so that their time and memory are bounded.

DuckDB's `memory_limit` does not count all memory: `SELECT repeat('x', 1000000000)` takes gigabytes with any limit. So
statements run in a process with a limit of the operating system. It is started again if a statement ends it.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any

from recaption.errors import DatasetError, UserError
from recaption.inspect.viewer.limits import Limits

_PROCESS = f"{__package__}.process"
_GRACE = 3.0  # seconds after which a statement that cannot be interrupted ends its process
_START = 120.0  # seconds in which an output has to open
_PIECE = 1 << 20  # bytes that are read at a time


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The first rows of a result. Values are texts as they are shown, and null is empty."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    more: bool  # the result has more rows

    @property
    def keys(self) -> tuple[str, ...] | None:
        """The distinct values of the column `key`, in order. None without such a column."""
        if "key" not in self.columns:
            return None
        place = self.columns.index("key")
        return tuple(dict.fromkeys(row[place] for row in self.rows if row[place]))


class Worker:
    """Runs one statement at a time in another process. Close it at the end."""

    def __init__(self, path: str, limits: Limits) -> None:
        """Opens the output at `path`. Raises DatasetError if that fails."""
        self.path, self.limits = path, limits
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._spilled = ""  # DuckDB's folder for data beyond its memory; left behind if the process is killed
        self._start()

    def ask(self, sql: str, values: Mapping[str, str] | None = None) -> Answer:
        """Run one statement that only reads. Raises UserError as `arrow_sql`, and for one that exceeds a limit."""
        if not self._lock.acquire(timeout=self.limits.seconds):
            raise UserError("other statements are still running. Try again")
        try:
            if self._process is None:
                self._start()
            answer = self._exchange({"sql": sql, "values": values or {}}, self.limits.seconds + _GRACE)
        except EOFError as error:
            self._end()
            raise UserError(self.limits.too_large) from error
        except TimeoutError as error:
            self._end()
            raise UserError(self.limits.too_long) from error
        finally:
            self._lock.release()
        if "error" in answer:
            raise UserError(answer["error"])
        return Answer(columns=tuple(answer["columns"]), rows=tuple(map(tuple, answer["rows"])), more=answer["more"])

    def close(self) -> None:
        """End the process, also during a statement."""
        self._end()

    def _start(self) -> None:
        arguments = json.dumps({"path": self.path, **asdict(self.limits)})
        self._spilled = tempfile.mkdtemp(prefix="recaption-viewer-")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", _PROCESS, arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": self._spilled},
        )
        try:
            opened = self._read(_START)
        except (EOFError, TimeoutError) as error:
            self._end()
            raise DatasetError(f"cannot read {self.path}: the process that queries it did not start") from error
        if "error" in opened:
            self._end()
            raise DatasetError(opened["error"])

    def _exchange(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise EOFError from error
        return self._read(seconds)

    def _read(self, seconds: float) -> dict[str, Any]:
        """The next line. Raises EOFError, TimeoutError."""
        assert self._process is not None and self._process.stdout is not None
        end, line = monotonic() + seconds, bytearray()
        pipe = self._process.stdout.fileno()
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, end - monotonic()))
            if not ready:
                raise TimeoutError
            piece = os.read(pipe, _PIECE)
            if not piece:
                raise EOFError
            line += piece
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        shutil.rmtree(self._spilled, ignore_errors=True)
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
