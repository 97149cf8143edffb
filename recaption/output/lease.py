"""One run per output: a lease with an epoch.

    lease/<epoch>.json       the holder: host, process, start time; put only if absent
    lease/<epoch>.beat       a counter that the holder increments every ten seconds
    lease/<epoch>.released   the run has released the lease

The names of parts contain the epoch, so parts of a process that has lost its lease can be recognised. Clocks of
different hosts are never compared: a process that wants the output watches the beat for a while with its own clock.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from recaption.errors import Interrupted, StoreError, UserError
from recaption.io.store import Store
from recaption.output.paths import LEASE, lease_epoch, lease_file

BEAT_SECONDS = 10.0
RELEASE_SECONDS = 3.0  # limit of the time that `release` waits for the store
STALE_SECONDS = 45.0  # four missed beats, as a busy store or a paused machine may cause
_LOOK_SECONDS = 3.0  # between two reads of another run's beat
_OWN: set[str] = set()  # tokens of the leases that this process holds


class Lease:
    """The right to write to an output; `epoch` counts the runs that ever held it.

    A separate thread beats until `release`. `lost` becomes True when another run has taken the output over.
    """

    def __init__(self, store: Store, epoch: int, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self.epoch = epoch
        self.lost = False
        self._token = token
        self._clock = clock
        self._beats = 0
        self._last_beat = clock()
        self._failure: StoreError | None = None  # of the last beat
        self._released = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="recaption-lease", daemon=True)

    def start(self) -> None:
        """Beat from now on."""
        self._thread.start()

    def beat(self) -> None:
        """Put one beat, and check whether another run took over. Failures are stored for `check`, not raised."""
        try:
            if self.store.exists(lease_file(self.epoch + 1, "json")):
                self.lost = True
                return
            self._beats += 1
            self.store.put(lease_file(self.epoch, "beat"), orjson.dumps({"beats": self._beats}))
            self._last_beat, self._failure = self._clock(), None
        except StoreError as error:
            self._failure = error

    def check(self) -> None:
        """Raises Interrupted if another run took over, StoreError if no beat could be put for STALE_SECONDS."""
        if self.lost:
            raise Interrupted(
                f"another run took over {self.store.url}; this one stops. Its stored answers are kept and used"
            )
        silent = self._clock() - self._last_beat
        if self._failure is not None and silent > STALE_SECONDS:  # other runs may consider this run dead now
            raise StoreError(f"the lease could not be renewed for {silent:.0f} s: {self._failure}")

    def release(self) -> None:
        """End the lease, and record that the run ended; waits for the store for at most RELEASE_SECONDS.

        Raises StoreError if that cannot be recorded. The lease has ended nevertheless.
        """
        self._released.set()
        _OWN.discard(self._token)
        failed: list[BaseException] = []

        def put() -> None:
            if self._thread.is_alive():
                self._thread.join(timeout=RELEASE_SECONDS)  # a late beat does no harm
            try:
                self.store.put(lease_file(self.epoch, "released"), b"")
            except BaseException as error:  # noqa: BLE001 - it is raised below
                failed.append(error)

        # In a thread: a store that does not respond must not block the end of the process.
        putting = threading.Thread(target=put, name="recaption-release", daemon=True)
        putting.start()
        putting.join(timeout=RELEASE_SECONDS)
        if putting.is_alive():
            raise StoreError(f"{self.store.url} did not respond for {RELEASE_SECONDS:.0f} s; the lease is not released")
        if failed:
            raise failed[0]

    def _keep_beating(self) -> None:
        while not self.lost:
            self.beat()
            if self._released.wait(BEAT_SECONDS):
                return


def claim(
    store: Store,
    *,
    takeover: bool = False,
    wait: float = STALE_SECONDS,
    say: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Lease:
    """Take the output for this process.

    The lease of a dead process on this host is taken over at once. The beat of a process on another host is watched for
    `wait` seconds; if it does not change, the run counts as dead. `say` is called before this wait.

    Raises UserError if another run holds the output (wait for it, stop it, or use `--takeover`), or if the store cannot
    tell two runs apart.
    """
    if not store.conditional and not takeover:
        raise UserError(
            f"{store.url} has no conditional writes, so a second run on it cannot be detected. Use a folder, S3 or "
            "Google Cloud Storage; or, if this is certainly the only run, give --takeover"
        )
    last = _last_epoch(store)
    while last and not takeover and not _is_over(store, last, wait=wait, say=say, clock=clock, sleep=sleep):
        last = _last_epoch(store)  # another run took it over in the meantime: check that run
    token = uuid.uuid4().hex
    holder = orjson.dumps({**_me(), "since": time.time(), "token": token})
    epoch = last + 1
    _OWN.add(token)  # before others can see it
    try:
        # Reading it back detects a store that accepts conditional writes but ignores the condition.
        won = (
            store.put(lease_file(epoch, "json"), holder, if_absent=True)
            and store.get(lease_file(epoch, "json")) == holder
        )
    except BaseException:
        _OWN.discard(token)
        raise
    if not won:
        _OWN.discard(token)
        raise UserError(f"another run has just taken {store.url}. Wait for it to end, then run the same command again")
    lease = Lease(store, epoch, token, clock)
    lease.start()
    return lease


def _is_over(
    store: Store,
    epoch: int,
    *,
    wait: float,
    say: Callable[[str], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> bool:
    """Whether the run of `epoch` is over. False if a newer one took over. Raises UserError if it is alive."""
    if store.exists(lease_file(epoch, "released")):
        return True
    holder = orjson.loads(store.get(lease_file(epoch, "json")))
    if is_here(holder):
        if lives(holder):
            raise _held(store, holder)
        return True
    say(
        f"{store.url} was last written by process {holder['pid']} on {holder['host']}; "
        f"waiting {wait:.0f} s to see whether it is still running"
    )
    first = _beat(store, epoch)
    began = clock()
    while (left := wait - (clock() - began)) > 0:
        sleep(min(_LOOK_SECONDS, left))
        if store.exists(lease_file(epoch + 1, "json")):
            return False
        if store.exists(lease_file(epoch, "released")):
            return True
        if _beat(store, epoch) != first:
            raise _held(store, holder)
    return True


def _held(store: Store, holder: dict[str, Any]) -> UserError:
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(holder["since"]))
    return UserError(
        f"{store.url} is being written by process {holder['pid']} on {holder['host']} (started {since}). "
        "Stop it or wait for it; if it is certainly dead, run again with --takeover"
    )


def _last_epoch(store: Store) -> int:
    return max(filter(None, map(lease_epoch, store.list(LEASE))), default=0)


def _beat(store: Store, epoch: int) -> bytes | None:
    try:
        return store.get(lease_file(epoch, "beat"))
    except FileNotFoundError:
        return None


def _me() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "host": socket.gethostname(),
        "boot": _boot_id(),
        "pids": _pid_space(),
        "pid": pid,
        "started": _started(pid),
    }


def is_here(holder: dict[str, Any]) -> bool:
    """Whether the holder ran on this machine, in this container and since this boot, so that its PID can be checked."""
    me = _me()
    return bool(me["boot"]) and all(holder.get(key) == me[key] for key in ("host", "boot", "pids"))


def lives(holder: dict[str, Any]) -> bool:
    """Whether the holder's process still exists. Call this only on its own machine (`is_here`)."""
    pid = holder["pid"]
    if pid == os.getpid() and holder.get("started") == _started(pid):
        return holder.get("token") in _OWN  # otherwise it is from an earlier run of this process
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    # PIDs are reused, so the start time must be the same. None: dead, but not yet reaped.
    return holder.get("started") is not None and _started(pid) == holder["started"]


def _started(pid: int) -> int | None:
    """The start of a process in clock ticks since boot; None if it has ended. proc(5), /proc/pid/stat, field 22."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return None
    state, started = fields[0], fields[19]
    return None if state in "ZX" else int(started)


def _boot_id() -> str:
    """An id of this boot of the machine; PIDs are valid only within a boot."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""


def _pid_space() -> str:
    """The PID namespace: containers may share the host's name and boot, but have their own PIDs."""
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - not a path
    return ""
