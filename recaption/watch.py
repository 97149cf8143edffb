"""A small process that ends what a driver has started when the driver and its parent are killed at the same moment.

It has its own session and a different command line, so that killing a process group or all processes of a name does
not end it. It is not a descendant of the parent. It lists the driver's descendants about once a second, because orphans
lose the link to the driver. Processes started after the last listing are found by an environment variable.
"""

import os
import sys
from contextlib import suppress

SCRIPT = r"""
import os, select, signal, sys, time
alive, parent, mark = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].encode()

def processes():  # process -> its parent, state, and start time: proc(5), /proc/pid/stat
    found = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as file:
                    fields = file.read().rpartition(")")[2].split()
                found[int(name)] = int(fields[1]), fields[0], fields[19]
            except (OSError, ValueError, IndexError):
                pass
    return found

def note(known):  # known: process -> start time
    found = processes()
    for process in [each for each, start in known.items() if each not in found or found[each][2] != start]:
        del known[process]
    below = {}
    for process, (above, _, start) in found.items():
        below.setdefault(above, []).append(process)
    look = [driver, *known]
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
        except OSError:  # ended, or somebody else's
            pass

known, pause = {}, 1.0
driver = int(os.read(alive, 20) or 0)
if not driver:
    sys.exit()
while True:
    if select.select([alive], [], [], pause)[0]:
        if os.read(alive, 1):  # the parent has reported the end
            sys.exit()
        break
    started = time.monotonic()
    found = note(known)
    pause = max(1.0, 50 * (time.monotonic() - started))
    if all(found.get(each, (0, "Z"))[1] == "Z" for each in (parent, driver)):
        break
deadline = time.monotonic() + 10
while time.monotonic() < deadline:
    found = note(known)
    marked(known, found)
    left = [process for process in known if found[process][1] != "Z"]
    for process in left:
        try:
            os.kill(process, signal.SIGKILL)
        except OSError:
            pass
    if not left:
        break
    time.sleep(0.1)
"""


class Watch:
    """Starts the process. Create it before the driver is forked, which keeps the pipe open."""

    def __init__(self) -> None:
        self._mark = "RECAPTION_DRIVER", os.urandom(8).hex()
        alive, self._write = os.pipe()  # reading ends when the parent and the driver have ended
        mark = "=".join(self._mark)
        parent, between = os.getpid(), os.fork()
        if between == 0:
            try:
                os.setsid()
                if os.fork() == 0:
                    os.close(self._write)
                    nothing = os.open(os.devnull, os.O_RDWR)
                    for number in range(3):
                        os.dup2(nothing, number)
                    os.set_inheritable(alive, True)
                    os.execv(sys.executable, [sys.executable, "-I", "-S", "-c", SCRIPT, str(alive), str(parent), mark])
            finally:
                os._exit(0)
        os.close(alive)
        os.waitpid(between, 0)

    def mark(self) -> None:
        """Call it in the driver: what it starts inherits the mark by the environment."""
        os.environ[self._mark[0]] = self._mark[1]

    def begin(self, driver: int) -> None:
        """Name the driver's process."""
        self._send(str(driver))

    def end(self) -> None:
        """All that the driver started has ended, or the parent has given it up."""
        self._send(".")

    def _send(self, text: str) -> None:
        with suppress(OSError):  # the process could not be started, or was killed
            os.write(self._write, text.encode())
