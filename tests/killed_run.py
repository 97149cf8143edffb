"""`recaption run` as a process with a Ray of its own, whose processes can be found and killed while it works."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from fake_engine import ENGINE_PROCESS
from stored_answers import stored_answers

TESTS = Path(__file__).parent
KINDS = {  # what a process's command line begins with or, of a script, what its name ends with
    "raylet": "/raylet",
    "gcs": "/gcs_server",
    "dashboard": "/dashboard/dashboard.py",
    "dashboard agent": "ray::DashboardAgent",
    "runtime env agent": "ray::RuntimeEnvAgent",
    "log monitor": "/log_monitor.py",
    "worker": "ray::IDLE",
    "actor": "ray::EngineActor",
    "render": "ray::RenderWorker",
}


def until_taken(process: int, number: signal.Signals) -> None:
    """Wait until a signal that was sent to a process no longer waits for it: two that wait at once are one."""
    while True:
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
        except OSError:  # it has ended
            return
        fields = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}
        waiting = int(fields["SigPnd"][0], 16) | int(fields["ShdPnd"][0], 16)
        if fields["State"][0] == "Z" or not waiting >> (number - 1) & 1:
            return
        time.sleep(0.01)


class KilledRun:
    """A pipeline in `folder` and one run of it after another: `out`, `log` (of the last run) and `faults` lie there.

    Two questions are asked of every image. With `model`, that one answers, else the fake engine.
    """

    def __init__(self, folder: Path, source: Path, model: dict[str, Any] | None = None, **engine_args: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.out, self.log, self.faults = folder / "out", folder / "log", folder / "faults"
        self.faults.mkdir()
        fake = {"engine": "fake_engine:FakeEngine", "model": "scene"}
        model = {**fake, "engine_args": {"faults": str(self.faults), **engine_args}, **(model or {})}
        self.data: dict[str, Any] = {
            "name": "test",
            "source": {"path": f"{source}/*.tar"},
            "models": {"fake": model},
            "generate": [
                {"id": "long", "model": "fake", "prompt": "describe_long"},
                {"id": "short", "model": "fake", "prompt": "describe_short"},
            ],
            "annotate": {"splitter": "flair_regex"},
            "output": {"path": str(self.out), "format": "webdataset"},
        }
        self.pipeline = folder / "p.yaml"
        self.options: tuple[str, ...] = ()
        self.write()
        self.patience = 240.0  # seconds that anything may take
        self._process: subprocess.Popen[bytes] | None = None
        self._family: set[psutil.Process] = set()

    def write(self) -> None:
        """Write the pipeline again, after a change to `data`."""
        self.pipeline.write_text(json.dumps(self.data))

    def start(self, **environment: str) -> None:
        """Its daemons inherit the log: a pipe would outlive it."""
        given = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
        given["PYTHONPATH"] = f"{TESTS}{os.pathsep}{TESTS.parent}"
        with self.log.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "recaption", "run", str(self.pipeline), *self.options],
                env={**given, **environment},
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def asked(self) -> int:
        """Requests that reached an engine, of all runs."""
        return sum(len(log.read_text().splitlines()) for log in self.faults.glob("asked-*"))

    def unstored(self) -> int:
        """Requests of all runs, less the answers in the store: so many have been or will be repeated. Call it while
        nothing is asked."""
        return self.asked() - len(stored_answers(self.out))

    def wait_until_asked(self, requests: int, room: int | None = None) -> bool:
        """Wait until the engines got this number of requests, of all runs. Returns False if the run ended before.

        With `room`, so many more are answered and the rest wait for `kill`, `signal` or `wait`: on a slow machine the
        run would otherwise end before this process looks again.
        """
        if room is not None:
            self.hold(requests + room)
        deadline = time.monotonic() + self.patience
        while self.asked() < requests:
            if not self.running:
                return False
            assert time.monotonic() < deadline, f"it hangs: {self.said()}"
            time.sleep(0.02)
        return True

    def hold(self, requests: int) -> None:
        """All requests after so many wait for `kill`, `signal` or `wait`. Replaces an earlier order."""
        order = self.faults / f"hold-{requests}"
        order.touch()
        self._go_on(keep=order)

    def _go_on(self, keep: Path | None = None) -> None:
        for order in self.faults.glob("hold-*"):
            if order != keep:
                order.unlink()

    def find(self, kind: str) -> psutil.Process | None:
        """One of the run's own processes: parent (which reports), driver, engine (its own process), or of KINDS."""
        assert self._process is not None
        if kind == "parent":
            return psutil.Process(self._process.pid)
        if kind == "driver":
            with suppress(psutil.NoSuchProcess):
                return next(iter(psutil.Process(self._process.pid).children()), None)
            return None
        for process in self._processes():
            try:
                command = process.cmdline()
            except psutil.Error:
                continue
            if command and _is(kind, command):
                return process
        return None

    def kill(self, kind: str, *, held: bool = False) -> bool:
        """SIGKILL to one process. False: the run ended before there was one. `held`: requests that wait still wait."""
        deadline = time.monotonic() + self.patience
        while True:
            victim = self.find(kind)
            if victim is not None:
                self._processes()  # found now: a process whose parent has ended is not found later
                with suppress(psutil.NoSuchProcess):  # workers of Ray come and go
                    victim.send_signal(signal.SIGKILL)
                    while not _has_ended(victim):
                        time.sleep(0.01)
                    if not held:
                        self._go_on()
                    return True
            elif not self.running:
                return False
            assert time.monotonic() < deadline, f"there is no {kind}: {self.said()}"
            time.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        """SIGINT as from a terminal: to every process of the group; others to the driver alone.

        Returns once the run has noticed it: what `wait_until_asked` holds up could otherwise end before.
        """
        assert self._process is not None
        self._processes()
        if number == signal.SIGINT:
            os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)
        until_taken(self._process.pid, number)
        deadline = time.monotonic() + self.patience
        while self.running and "stopping: " not in self.said():
            assert time.monotonic() < deadline, f"it does not stop: {self.said()}"
            time.sleep(0.02)
        self._go_on()

    def wait(self, *, held: bool = False) -> int:
        """The run's exit code. However it ended, none of its processes is left behind. `held`: see `kill`."""
        assert self._process is not None
        if not held:
            self._go_on()
        try:
            code = self._process.wait(self.patience)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {self.said()}") from None
        left = self.clean_up()
        assert not left, "an engine that outlives its run keeps its GPU"
        return code

    def clean_up(self) -> list[str]:
        """Wait until what works for the run has ended by itself. Ends what has not, and returns its names."""
        if self._process is None:
            return []
        if self.running:
            self._processes()
            self._process.kill()
            self._process.wait()
        _, left = psutil.wait_procs(self._family, timeout=60)
        names = [_name(process) for process in left]
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._family.clear()
        return names

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def _processes(self) -> list[psutil.Process]:
        """All that live below the driver. A process that was seen once is remembered."""
        assert self._process is not None
        try:
            found = psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            found = []
        self._family.update(found)
        return found


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def _is(kind: str, command: list[str]) -> bool:
    if kind == "engine":
        return ENGINE_PROCESS in command or command[0].startswith("VLLM::EngineCore")
    mark = KINDS[kind]
    return any(part.endswith(mark) for part in command[:3]) if mark[0] == "/" else command[0].startswith(mark)
