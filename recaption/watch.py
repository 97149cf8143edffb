"""A small process that ends what a watched process has started, once the watched process has ended in any way.

There are two cases. A driver and its parent are killed at the same moment: then nothing else is left to end Ray (see
`supervise`). The actor of an engine is killed: vLLM's engine runs in a separate process that does not notice it and
would keep the GPU's memory, and Ray kills the actor's process group only while Ray's daemon on that node is alive.

The process has its own session and a different command line, so that killing a process group or all processes of a
name does not end it, and it is not a descendant of what it watches. It finds what to end in three ways: it lists the
descendants about once a second, because orphans lose the link to their ancestor; processes started after the last
listing have inherited an environment variable, unless they have changed their title, which overwrites it; the third way
is the process group, if the watched process leads it. Needs /proc: on other systems than Linux it does nothing.
"""

import os
import sys
from contextlib import suppress

SCRIPT = r"""
import os, select, signal, sys, time
os.closerange(3, 1 << 20)
mark = sys.argv[1].encode()

def processes():  # process -> its parent, state, start time and group: proc(5), /proc/pid/stat
    found = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                    fields = file.read().rpartition(")")[2].split()
                found[int(name)] = int(fields[1]), fields[0], fields[19], int(fields[2])
            except (OSError, ValueError, IndexError):
                pass
    return found

def note(known):  # known: process -> start time
    found = processes()
    for process in [each for each, start in known.items() if each not in found or found[each][2] != start]:
        del known[process]
    below = {}
    for process, (above, _, start, group) in found.items():
        below.setdefault(above, []).append(process)
        if group == watched[0] != process:
            known[process] = start
    look = [watched[0], *known]
    while look:
        for process in below.get(look.pop(), ()):
            if process not in known:
                known[process] = found[process][2]
                look.append(process)
    return found

def marked(known, found):  # what was started since the last note, and has lost its parent
    for process in found.keys() - known.keys():
        try:
            with open(f"/proc/{process}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    known[process] = found[process][2]
        except OSError:  # ended, or it belongs to another user
            pass

known, pause = {}, 1.0
watched = [int(process) for process in os.read(0, 80).split()]
if not watched:
    sys.exit()
while True:
    if select.select([0], [], [], pause)[0]:
        if os.read(0, 1):  # nothing is left to end
            sys.exit()
        break
    started = time.monotonic()
    found = note(known)
    pause = max(1.0, 50 * (time.monotonic() - started))
    if all(found.get(each, (0, "Z"))[1] == "Z" for each in watched):
        break
deadline, nothing = time.monotonic() + 10, 0
while nothing < 3 and time.monotonic() < deadline:  # a process that is being started has no environment for a moment
    found = note(known)
    marked(known, found)
    left = [process for process in known if found[process][1] != "Z"]
    for process in left:
        try:
            os.kill(process, signal.SIGKILL)
        except OSError:
            pass
    nothing = 0 if left else nothing + 1
    time.sleep(0.1)
"""

_DETACHED = 'exec 3<&0; "$@" <&3 3<&- &'  # a shell gives a background process an empty standard input
_MARK = "RECAPTION_WATCH_"


class Watch:
    """Starts the process. Create it before any other process that is to be watched: these inherit the pipe and keep it
    open."""

    def __init__(self) -> None:
        self._mark = f"{_MARK}{os.urandom(8).hex()}"
        alive, self._write = os.pipe()  # reading ends when no process has the other end open
        shell = os.posix_spawn(  # not a fork: the process may have threads
            "/bin/sh",
            ["sh", "-c", _DETACHED, "sh", sys.executable, "-I", "-S", "-c", SCRIPT, f"{self._mark}=1"],
            {name: value for name, value in os.environ.items() if not name.startswith(_MARK)},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, alive, 0),
                *((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)),
            ],
            setsid=True,
        )
        os.close(alive)
        os.waitpid(shell, 0)  # its child has no other link to this process

    @classmethod
    def of_this_process(cls) -> "Watch":
        """End what this process starts, once it has ended. It leads its process group from now on."""
        if os.getpgrp() != os.getpid():
            os.setpgid(0, 0)
        watch = cls()
        watch.mark()
        watch.begin(os.getpid())
        return watch

    def mark(self) -> None:
        """Call it in the watched process: what it starts inherits the mark."""
        os.environ[self._mark] = "1"

    def begin(self, process: int, parent: int | None = None) -> None:
        """Once `process`, and `parent` if there is one, have ended: end everything that they started."""
        self._send(f"{process} {parent or ''}")

    def end(self) -> None:
        """Call it once everything that the watched process started has ended, or is no longer waited for."""
        self._send(".")

    def _send(self, text: str) -> None:
        with suppress(OSError):  # it could not be started, or was killed
            os.write(self._write, text.encode())
