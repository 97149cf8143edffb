"""One run per output: a lease with an epoch.

    lease/<epoch>.json       who holds it: host, process, since when; put only if absent
    lease/<epoch>.released   it ended in order

The epoch goes into the names of parts, so what a process that lost its lease still writes is told apart.
"""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass

import orjson

from recaption.errors import UserError
from recaption.store import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """The right to write to an output; `epoch` counts the runs that ever held it."""

    store: Store
    epoch: int

    def release(self) -> None:
        """Say that this run ended in order."""
        self.store.put(f"lease/{self.epoch:06d}.released", b"")


def claim(store: Store, *, takeover: bool = False) -> Lease:
    """Take the output for this process. A dead process on this host is taken over at once.

    Raises UserError when another run holds it: wait for it, stop it, or give `--takeover`.
    """
    names = [path.removeprefix("lease/") for path in store.list("lease")]
    epochs = sorted(int(name.removesuffix(".json")) for name in names if name.endswith(".json"))
    last = epochs[-1] if epochs else 0
    if last and f"{last:06d}.released" not in names and not takeover:
        _refuse_if_alive(store, last)
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time(), "boot": _boot_id()}
    epoch = last + 1
    if not store.put(f"lease/{epoch:06d}.json", orjson.dumps(holder), if_absent=True):
        raise UserError(f"another run has just taken {store.url}. Wait for it to end, then run the same command again")
    return Lease(store=store, epoch=epoch)


def _refuse_if_alive(store: Store, epoch: int) -> None:
    holder = orjson.loads(store.get(f"lease/{epoch:06d}.json"))
    here = holder["host"] == socket.gethostname() and holder["boot"] == _boot_id()
    if here and (holder["pid"] == os.getpid() or not _alive(holder["pid"])):
        return
    since = time.strftime("%Y-%m-%d %H:%M", time.localtime(holder["since"]))
    raise UserError(
        f"{store.url} is being written by process {holder['pid']} on {holder['host']} since {since}. "
        "Stop it or wait for it; if it is surely dead, run again with --takeover"
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _boot_id() -> str:
    """Tells this boot of this machine from others; process numbers mean nothing across boots."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
