"""A million parts under one prefix: the listing that every resume begins with."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import tracemalloc
from pathlib import Path
from typing import Any

from recaption.io.store import LocalStore

COUNT = 1_000_000


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "answers" / ".parts" / "00000"
        base.mkdir(parents=True)
        for number in range(COUNT):
            name = base / f"{number:06d}.000001-{number % 10_000:04d}-0_{number}.parquet"
            os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
        store = LocalStore(folder)
        tracemalloc.start()
        started = time.monotonic()
        found = sum(1 for _ in store.list("answers/.parts/00000"))
        seconds = time.monotonic() - started
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return {"parts": found, "seconds_to_list": seconds, "peak_mib": peak / 2**20}
