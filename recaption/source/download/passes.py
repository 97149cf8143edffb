"""Run img2dataset over the list in a process of its own, until every shard is finished."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from recaption.errors import StoreError
from recaption.source.download.opener import DIRECTIVES, Limits

_ROOT: Final = Path(__file__).parents[3]
_STARTS: Final = 3  # starts of img2dataset without a finished shard before a pass ends with an error


@dataclass(frozen=True, kw_only=True, slots=True)
class Passes:
    """img2dataset with its incremental mode: it skips shards that are finished.

    The files in `urls` are numbered through as shards. A second pass adds a file to `urls`, and so adds shards.
    """

    out: Path
    urls: Path
    log: Path
    format: str
    size: int  # URLs of a shard
    processes: int
    threads: int  # of each process
    timeout: float  # seconds without a byte
    image_size: int | None
    limits: Limits
    report: Callable[[str], None]

    def gentler(self) -> Passes:
        """A quarter of the threads, twice the time."""
        limits = replace(self.limits, seconds=2 * self.limits.seconds)
        return replace(self, threads=max(1, self.threads // 4), timeout=2 * self.timeout, limits=limits)

    def shards(self, files: str = "*.parquet") -> int:
        """How many shards the list, or a part of its files, makes."""
        return sum(math.ceil(pq.read_metadata(path).num_rows / self.size) for path in self.urls.glob(files))

    def finished(self) -> int:
        return len(list(self.out.glob("*_stats.json")))

    def run(self) -> None:
        """Raises StoreError when img2dataset ends three times in a row without finishing a shard."""
        shards, fruitless = self.shards(), 0
        while (before := self.finished()) < shards:
            self._start(shards)
            fruitless = 0 if self.finished() > before else fruitless + 1
            if fruitless == _STARTS:
                tail = "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-12:])
                raise StoreError(
                    f"img2dataset ended {_STARTS} times without finishing a shard ({before} of {shards} are finished). "
                    f"The end of {self.log}:\n{tail}"
                )

    def _start(self, shards: int) -> None:
        settings = {"img2dataset": self._arguments(shards), "limits": asdict(self.limits)}
        env = os.environ | {
            "RECAPTION_DOWNLOAD": json.dumps(settings),
            "NO_ALBUMENTATIONS_UPDATE": "1",  # it would request its newest version number on import
            "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
        }
        command = [sys.executable, "-m", "recaption.source.download.worker"]
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=env, start_new_session=True
            )
            try:
                self._watch(process, shards)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                assert process.stdin is not None
                process.stdin.close()

    def _watch(self, process: subprocess.Popen[bytes], shards: int) -> None:
        # img2dataset's pool waits forever for a worker that was killed, for instance for its memory. Its tables grow by
        # 100 rows at a time, and a row takes at most limits.seconds.
        patience = 120 + self.limits.seconds * (2 + math.ceil(100 / self.threads))
        size, since, told, started = -1, time.monotonic(), -1, time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            if (finished := self.finished()) != told:
                told = finished
                self.report(f"{finished} of {shards} shards, {time.monotonic() - started:.0f} s")
            with contextlib.suppress(FileNotFoundError):
                now = sum(entry.stat().st_size for entry in os.scandir(self.out) if entry.is_file())
                if now != size:
                    size, since = now, time.monotonic()
            if time.monotonic() - since > patience:
                self.report(f"no data for {patience:.0f} s; starting img2dataset again")
                return

    def _arguments(self, shards: int) -> dict[str, Any]:
        columns = pq.read_schema(min(self.urls.glob("*.parquet"))).names
        keep = self.image_size is None
        return {
            "url_list": str(self.urls),
            "input_format": "parquet",
            "caption_col": "caption" if "caption" in columns else None,
            "save_additional_columns": [name for name in columns if name not in ("url", "caption")],
            "output_folder": str(self.out),
            "output_format": self.format,
            "number_sample_per_shard": self.size,
            "processes_count": min(self.processes, shards - self.finished()),
            "thread_count": self.threads,
            "timeout": self.timeout,
            "image_size": self.image_size or 256,
            "resize_mode": "no" if keep else "keep_ratio",
            "resize_only_if_bigger": True,
            "skip_reencode": True,
            "disable_all_reencoding": keep,
            "compute_hash": "sha256",
            "extract_exif": False,
            "incremental_mode": "incremental",
            "user_agent_token": self.limits.user_agent_token,
            "disallowed_header_directives": list(DIRECTIVES) if self.limits.respect_opt_out else [],
        }
