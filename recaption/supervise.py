"""A parent process that starts a command, forwards signals to it, and reports how it ended.

Ray and CUDA can end a process without an exception: a lost raylet aborts the driver, the kernel kills a process that
uses too much memory. That process cannot report it. The parent imports nothing heavy, so it starts fast and stays
small. It stays in the terminal's process group.

    killing the parent      the driver notices at once, and ends what it has started and itself
    killing the driver      the parent ends what is left (it is the subreaper of all of it) and reports
    killing both at once    a third process ends what is left: see `watch`
    SIGINT, SIGTERM, …      are forwarded. A terminal sends them to both processes: see `Interrupts`
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from mmap import mmap
from pathlib import Path
from types import FrameType

from recaption import signals, stdio
from recaption.signals import INTERRUPTED, STOPPED_AT_ONCE
from recaption.watch import Watch

COMMANDS = frozenset(("run", "generate", "build", "estimate", "retry", "reproduce"))
"""Commands that start Ray or an engine: these get a parent."""

FAILED = 3  # exit code, as in recaption.errors
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_EXIT_SECONDS = 10.0, 2.0  # until a process that hangs after its command is killed: with exit code 0 to 2, else
_REST_SECONDS = 3.0, 8.0  # after a failure: until SIGKILL, and until giving up
_STDERR_BYTES = 2**20


class _Shared(ctypes.Structure):
    """What a parent knows about the command that it has started. `supervised` puts it into memory of both processes."""

    _fields_ = (
        ("stderr", ctypes.c_int),  # the driver's file descriptor 2 while Ray is in use; 0: this process has no parent
        ("forwarded", ctypes.c_uint),  # SIGINTs that the parent has sent on, so that one Ctrl-C is not counted twice
        ("code", ctypes.c_int),  # -1 until the command has ended
        ("exiting", ctypes.c_bool),
        ("summarised", ctypes.c_bool),
        ("logs", ctypes.c_char * 4000),  # the folder of Ray's logs
    )


_shared = _Shared()


def summary_written() -> None:
    """Record that the command has written its summary, so that the parent writes none."""
    _shared.summarised = True


def ended(code: int) -> None:
    """Record the exit code before the process exits without returning."""
    _shared.code = code


def ray_started(logs: str) -> None:
    """Record the folder of Ray's logs: they may contain the reason for an abort."""
    _shared.logs = os.fsencode(logs)[:4000]


def divert_native_stderr() -> None:
    """Divert file descriptor 2, to which native code writes, into the parent's report; Python's stderr stays visible.

    Otherwise the log of Ray's C++ core would interrupt our lines. Without a parent, nothing is diverted. Python's
    stderr is not affected, because `stdio.unblock` gave it a separate file descriptor.
    """
    if _shared.stderr and sys.stderr is not None:
        sys.stderr.flush()
        os.dup2(_shared.stderr, 2)


def native_stderr() -> str:
    """The end of what native code has written since `divert_native_stderr`."""
    return _tail(_shared.stderr) if _shared.stderr else ""


class Interrupts:
    """Counts the SIGINTs that were sent. Each can arrive twice: directly and forwarded."""

    def __init__(self) -> None:
        self._arrived = self._sent = 0

    def is_new(self) -> bool:
        """Call it in the handler of SIGINT. False for the second arrival of the same signal."""
        self._arrived += 1
        sent = max(_shared.forwarded, self._arrived - _shared.forwarded)
        known, self._sent = self._sent, max(self._sent, sent)
        return sent > known


_interrupts = Interrupts()  # one for all handlers: the copy may arrive when another one is installed


def at_work() -> None:
    """From now on SIGINT raises KeyboardInterrupt, so that work is saved. Before, a signal ends the process at once."""
    if _shared.stderr:
        signal.signal(signal.SIGINT, _raise_once)


def _raise_once(number: int, frame: FrameType | None) -> None:
    if _interrupts.is_new():
        raise KeyboardInterrupt


def supervised(command: Callable[[], int], arguments: Sequence[str]) -> int:
    """Run `command` in a child process. Returns its exit code in both processes, and reports a child that was killed.

    `arguments` are those of the command line: with --json the report is a JSON line.
    """
    global _shared
    _shared = _Shared.from_buffer(mmap(-1, 4096))
    _shared.stderr, _shared.code = os.memfd_create("recaption-stderr"), -1
    ours = [number for number in _STOPS if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores SIGHUP
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [*ours, signal.SIGCHLD])
    watch = Watch()
    with suppress(OSError, AttributeError):  # Linux only
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    alive, parent_end = os.pipe()  # reading ends when the parent has ended in any way
    child = os.fork()
    if child == 0:
        os.close(parent_end)
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        threading.Thread(target=_end_with_parent, args=(alive,), name="recaption-parent", daemon=True).start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        watch.mark()
        stdio.unblock()
        code = command()
        ended(code)
        stdio.flush()
        _shared.exiting = True
        return code
    os.close(alive)
    watch.begin(child, os.getpid())
    status = _watch(child, ours)
    code, summarised, text = _shared.code, _shared.summarised, "see standard error"
    if code not in (0, 1, 2):
        _end_rest()
    watch.end()
    if code < 0:
        code, text = _explained(child, status)
        summarised = False
        if os.isatty(1):
            _say(1, "\x1b[?25h")  # progress bars hide the cursor
        _say(2, f"{'interrupted' if code == INTERRUPTED else 'error'}: {text}\n")
    if summarised:
        return code
    if "--json" in arguments and arguments[0] != "estimate":
        _say(1, _json_summary(code, text))
    elif "--quiet" not in arguments and code not in (0, 1, 2):
        _say(1, f"{summary_line(code)}\n")
    return code


def _end_with_parent(alive: int) -> None:
    """Runs in a thread of the driver. Otherwise Ray's agents would live for a minute, an engine's process forever."""
    os.read(alive, 1)
    for _ in range(3):  # also processes that are started meanwhile
        _send(signal.SIGKILL, *_below(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)


def _send(number: int, *processes: int) -> None:
    """Send a signal to the processes that still exist."""
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


def _watch(child: int, ours: Sequence[signal.Signals]) -> int:
    """Forward signals until the child has ended. Returns its wait status."""
    ended = None
    while True:
        info = signal.sigtimedwait([*ours, signal.SIGCHLD], 1.0)
        if (status := _reaped(child)) is not None:
            return status
        if info is not None and info.si_signo in ours:
            if info.si_signo == signal.SIGINT:
                _shared.forwarded += 1
            _send(info.si_signo, child)
        if _shared.exiting:  # the command is done: do not wait for a library that hangs at exit
            ended = ended or time.monotonic()
            if time.monotonic() - ended > _EXIT_SECONDS[_shared.code not in (0, 1, 2)]:
                _send(signal.SIGKILL, child)
        if os.fstat(_shared.stderr).st_size > _STDERR_BYTES:
            os.ftruncate(_shared.stderr, 0)


def _reaped(child: int) -> int | None:
    """The child's wait status once it has ended. Reaps orphans, too."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                found = ended[1]
    return found


def _end_rest() -> None:
    """End the processes that the driver left behind: they are descendants of this process, the subreaper."""
    began = time.monotonic()
    while rest := _below(os.getpid()):
        waited = time.monotonic() - began
        if waited > _REST_SECONDS[1]:
            return
        if waited > _REST_SECONDS[0]:
            _send(signal.SIGKILL, *rest)
        time.sleep(0.05)
        _reaped(0)


def _below(process: int) -> list[int]:
    """All descendants that live or wait to be reaped. proc(5), /proc/pid/stat, field 4."""
    parents: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError):
            fields = (folder / "stat").read_text("ascii", "replace").rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(folder.name))
    found, pending = list[int](), [process]
    while pending:
        below = parents.get(pending.pop(), [])
        found += below
        pending += below
    return found


def _explained(child: int, status: int) -> tuple[int, str]:
    """Exit code and message for a driver that ended without a report."""
    again = "Answers that are stored are kept; run the same command again to continue"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number in _STOPS:
            return INTERRUPTED, STOPPED_AT_ONCE
        hint = " (by hand, or because the machine ran out of memory)" if number == signal.SIGKILL else ""
        what = f"the driver (process {child}) was ended by {signal.Signals(number).name}{hint}"
    else:
        what = f"the driver (process {child}) was ended with code {os.WEXITSTATUS(status)} by a library"
    return FAILED, f"{_cause() or what}. {again}"


def _cause() -> str:
    """The cause of an end from Ray's logs or the last output of native code; empty if there is none."""
    if _shared.logs:
        logs = Path(os.fsdecode(_shared.logs))
        _, found, agent = _end_of(logs / "raylet.out").rpartition("agent_name = ")
        raylet, killed = (
            "Ray's daemon on this machine (raylet) has ended",
            "was killed, or the machine ran out of memory",
        )
        if found:
            name = agent.split(".")[0].strip().replace("_", " ")
            return f"{raylet}, because Ray's {name} did: it {killed}"
        for log in logs.glob("python-core-driver-*.log"):
            if "connection to the plasma store is failed" in _end_of(log):
                return f"{raylet}: it {killed}"
    lines = [line.strip() for line in native_stderr().splitlines() if line.strip()]
    if any("Failed to connect to GCS" in line for line in lines):
        return "Ray's control service (gcs_server) does not answer: it was killed, or its machine has failed"
    return f"the driver was ended; the last line of its error output is: {lines[-1][:500]}" if lines else ""


def _end_of(path: Path) -> str:
    with suppress(OSError), path.open("rb") as file:
        return _tail(file.fileno())
    return ""


def _tail(descriptor: int) -> str:
    """The last 64 KiB of a file."""
    return os.pread(descriptor, 65536, max(0, os.fstat(descriptor).st_size - 65536)).decode("utf-8", "replace")


def summary_line(code: int) -> str:
    """The last line of a run that failed or was interrupted."""
    what = {
        1: "a limit or a check failed",
        2: "the input was wrong",
        INTERRUPTED: "interrupted; the same command continues",
    }.get(code, "infrastructure failed; the same command continues")
    return f"summary: exit code {code}, {what}"


def _json_summary(code: int, text: str) -> str:
    import json
    from datetime import UTC, datetime

    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return json.dumps({"ts": now, "event": "summary", "exit_code": code, "error": text}) + "\n"


def _say(descriptor: int, text: str) -> None:
    """Write, and wait for a reader if necessary. The signals that `supervised` blocks end that wait."""
    while signal.sigtimedwait(_STOPS, 0):  # signals from before
        pass
    thread = threading.Thread(target=signals.write, args=(descriptor, text), daemon=True)
    thread.start()
    thread.join(0.1)
    while thread.is_alive() and not signal.sigtimedwait(_STOPS, 0.1):
        pass


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether SIGINT, SIGTERM or SIGHUP has arrived.

    A SIGINT after one of them raises KeyboardInterrupt. Wait in steps of less than a second meanwhile: CPython runs a
    handler between two instructions, so a signal just before a blocking system call waits for the end of that call.
    """
    requested = False

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if number == signal.SIGINT:
            if not _interrupts.is_new():
                return  # a copy forwarded by the parent: the terminal has signalled this process, too
            if requested:
                raise KeyboardInterrupt
        requested = True

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    try:
        before = {number: signal.signal(number, request) for number in numbers}
    except ValueError:  # not in the main thread: the caller handles signals
        before = {}
    try:
        yield lambda: requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
