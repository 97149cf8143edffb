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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, StringConstraints

from recaption.errors import StoreError
from recaption.source.download.opener import DIRECTIVES

_ROOT: Final = Path(__file__).parents[3]
_TOKEN: Final = StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")


class Settings(BaseModel):
    """How to download. A second pass has a quarter of the threads and twice the time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user_agent_token: Annotated[str, _TOKEN] = Field(
        description="a download needs a name by which site owners can recognise it: --user-agent-token NAME (letters, "
        "digits, _ . -), for instance of your group. `X-Robots-Tag: NAME: noai` then opts out of this download"
    )
    url_column: str = "url"
    caption_column: str | None = "caption"
    format: Literal["webdataset", "parquet"] = "webdataset"
    samples_per_shard: PositiveInt = 5_000  # URLs, failures included
    processes: PositiveInt = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads: PositiveInt = 64  # of each process
    timeout: PositiveFloat = 10.0  # seconds without a byte
    max_seconds: PositiveFloat | None = None  # of a response in total; None: six times `timeout`
    second_passes: int = Field(default=1, ge=0)
    pause: float = Field(default=30.0, ge=0)  # seconds before a second pass
    max_bytes: PositiveInt = 32 << 20  # of an image
    respect_opt_out: bool = True

    @property
    def seconds(self) -> float:
        return self.max_seconds or 6 * self.timeout

    @classmethod
    def hint(cls, field: str) -> str | None:
        return cls.model_fields[field].description if field in cls.model_fields else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Passes:
    """img2dataset in its incremental mode, in which it skips finished shards.

    It numbers the shards through all files in `urls`. A second pass adds a file to `urls`, and so adds shards.
    """

    out: Path
    settings: Settings
    report: Callable[[str], None]

    @property
    def urls(self) -> Path:
        return self.out / ".download" / "urls"

    def gentler(self) -> Passes:
        threads, timeout = max(1, self.settings.threads // 4), 2 * self.settings.timeout
        changes = {"threads": threads, "timeout": timeout, "max_seconds": 2 * self.settings.seconds}
        return replace(self, settings=self.settings.model_copy(update=changes))

    def shards(self, files: str = "*.parquet") -> int:
        """How many shards the list, or a part of its files, makes."""
        size = self.settings.samples_per_shard
        return sum(math.ceil(pq.read_metadata(path).num_rows / size) for path in self.urls.glob(files))

    def finished(self) -> int:
        return len(list(self.out.glob("*_stats.json")))

    def run(self) -> None:
        """Raises StoreError when img2dataset ends before every shard is finished."""
        shards = self.shards()
        if self.finished() == shards:
            return
        checks = self.settings.model_dump(include={"max_bytes", "respect_opt_out", "user_agent_token"})
        checks["max_seconds"] = self.settings.seconds
        env = os.environ | {
            "RECAPTION_DOWNLOAD": json.dumps({"img2dataset": self._arguments(shards), "checks": checks}),
            "NO_ALBUMENTATIONS_UPDATE": "1",  # it would request its newest version number on import
            "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
        }
        command, log = [sys.executable, "-m", "recaption.source.download.worker"], self.urls.with_name("log.txt")
        with (
            open(log, "ab") as end,
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=end, stderr=end, env=env, start_new_session=True
            ) as process,
        ):
            try:
                self._watch(process, shards)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        if (finished := self.finished()) < shards:
            tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-12:])
            raise StoreError(
                f"img2dataset finished {finished} of {shards} shards; run the same command again to continue. "
                f"The end of {log}:\n{tail}"
            )

    def _watch(self, process: subprocess.Popen[bytes], shards: int) -> None:
        # img2dataset waits forever for a worker that was killed, for instance for its memory. Its tables grow by
        # 100 rows at a time, and a row takes at most max_seconds.
        patience = 120 + self.settings.seconds * (2 + math.ceil(100 / self.settings.threads))
        size, since, told, started = -1, time.monotonic(), -1, time.monotonic()
        while process.poll() is None and time.monotonic() - since < patience:
            time.sleep(0.2)
            if (finished := self.finished()) != told:
                told = finished
                self.report(f"{finished} of {shards} shards, {time.monotonic() - started:.0f} s")
            now = sum(entry.stat().st_size for entry in os.scandir(self.out) if entry.is_file())
            size, since = now, time.monotonic() if now != size else since

    def _arguments(self, shards: int) -> dict[str, Any]:
        columns = pq.read_schema(min(self.urls.glob("*.parquet"))).names
        return {
            "url_list": str(self.urls),
            "input_format": "parquet",
            "caption_col": "caption" if "caption" in columns else None,
            "save_additional_columns": [name for name in columns if name not in ("url", "caption")],
            "output_folder": str(self.out),
            "output_format": self.settings.format,
            "number_sample_per_shard": self.settings.samples_per_shard,
            "processes_count": min(self.settings.processes, shards - self.finished()),
            "thread_count": self.settings.threads,
            "timeout": self.settings.timeout,
            "resize_mode": "no",
            "disable_all_reencoding": True,
            "extract_exif": False,
            "compute_hash": "sha256",
            "incremental_mode": "incremental",
            "user_agent_token": self.settings.user_agent_token,
            "disallowed_header_directives": list(DIRECTIVES) if self.settings.respect_opt_out else [],
        }
