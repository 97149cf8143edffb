"""One run per output."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from recaption.errors import UserError
from recaption.generate.lease import _boot_id, claim
from recaption.store import LocalStore


def test_epochs_count_the_runs(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for epoch in (1, 2, 3):
        lease = claim(store)
        assert lease.epoch == epoch
        lease.release()


def holder(tmp_path: Path, **changes: object) -> LocalStore:
    store = LocalStore(tmp_path)
    who = {"host": socket.gethostname(), "pid": os.getppid(), "since": 0.0, "boot": _boot_id(), **changes}
    store.put("lease/000004.json", orjson.dumps(who))
    return store


def test_a_living_process_keeps_its_lease(tmp_path: Path) -> None:
    store = holder(tmp_path)
    with pytest.raises(UserError, match=f"written by process {os.getppid()} .*--takeover"):
        claim(store)
    assert claim(store, takeover=True).epoch == 5


def test_another_host_is_believed_to_live(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="elsewhere"):
        claim(holder(tmp_path, host="elsewhere"))


def test_a_dead_process_is_taken_over_at_once(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    assert claim(holder(tmp_path, pid=dead.pid)).epoch == 5
