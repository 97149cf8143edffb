"""One pass over a list of (row, url) with img2dataset, in a process of its own, and what came out of it per row.

On disk, in a folder that appears by one rename:

    pass<n>/plan.json        rows, shard size
            urls/*.parquet   (row, url), what img2dataset reads
            out/             what img2dataset writes; `<shard>_stats.json` marks a finished shard
            log.txt          what it prints
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from recaption.errors import ShardError, StoreError
from recaption.source.download.fetch import Limits
from recaption.source.download.optout import DIRECTIVES
from recaption.source.download.reasons import split
from recaption.tablefile import read_table

_FILE_ROWS: Final = 500_000  # img2dataset holds a file of its input in memory
_ROOT: Final = Path(__file__).parents[3]
_STARTS: Final = 3  # times that img2dataset is started before a pass without progress is given up
_URL_SCHEMA: Final = pa.schema([("row", pa.int64()), ("url", pa.string())])


class Outcome(NamedTuple):
    """What a pass made of a row. `key`, `sha256` and `tar` are of a stored image; else reason and detail."""

    row: int
    number: int  # of the pass
    key: str | None = None
    sha256: str | None = None
    tar: Path | None = None
    reason: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """How img2dataset runs; nothing of it changes what is asked for."""

    processes: int
    threads: int  # per process
    timeout: float  # seconds without progress
    image_size: int | None


class Pass:
    """A pass that is planned: its URLs lie on disk."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.number, self.out = folder, number, folder / "out"
        plan = json.loads((folder / "plan.json").read_text("utf-8"))
        self.rows, self.shard_size = int(plan["rows"]), int(plan["shard_size"])
        self.shards = math.ceil(self.rows / self.shard_size)

    @classmethod
    def plan(cls, work: Path, number: int, urls: Iterable[tuple[int, str | None]], workers: int, rows: int) -> Pass:
        """Write the list of a pass, or take the one that is there. `rows` is its length, or a bound of it."""
        folder = work / f"pass{number}"
        if folder.is_dir():
            return cls(folder, number)
        temporary = work / f"pass{number}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        (temporary / "urls").mkdir(parents=True)
        (temporary / "out").mkdir()
        size = max(100, min(5_000, math.ceil(rows / workers)))  # every process gets some of a short list
        per_file = _FILE_ROWS - _FILE_ROWS % size  # img2dataset cuts each file into shards by itself
        pairs, total = iter(urls), 0
        while some := list(islice(pairs, per_file)):
            numbers, addresses = zip(*some, strict=True)
            table = pa.Table.from_arrays([pa.array(numbers), pa.array(addresses, pa.string())], schema=_URL_SCHEMA)
            pq.write_table(table, temporary / "urls" / f"{total // per_file:05d}.parquet", row_group_size=size)
            total += len(some)
        (temporary / "plan.json").write_text(json.dumps({"rows": total, "shard_size": size}), "utf-8")
        temporary.rename(folder)
        return cls(folder, number)

    def finished(self) -> list[Path]:
        return sorted(self.out.glob("*_stats.json"))

    def run(self, network: Network, limits: Limits, report: Callable[[str], None]) -> None:
        """Run img2dataset until every shard is finished; it skips those that are. Raises StoreError if it cannot."""
        fruitless = 0
        while len(self.finished()) < self.shards:
            before = len(self.finished())
            self._start(network, limits, report)
            fruitless = 0 if len(self.finished()) > before else fruitless + 1
            if fruitless == _STARTS:
                tail = "\n".join(self._log().read_text("utf-8", "replace").splitlines()[-12:])
                raise StoreError(
                    f"img2dataset ended {_STARTS} times without finishing another of {self.shards} shards "
                    f"({before} are). The end of {self._log()}:\n{tail}"
                )

    def _log(self) -> Path:
        return self.folder / "log.txt"

    def _start(self, network: Network, limits: Limits, report: Callable[[str], None]) -> None:
        settings = {
            "img2dataset": self._settings(network, limits),
            "limits": asdict(limits),
            "parent": os.getpid(),
        }
        (self.folder / "run.json").write_text(json.dumps(settings, indent=1), "utf-8")
        env = os.environ | {
            "NO_ALBUMENTATIONS_UPDATE": "1",  # it asks the network for its newest version on import
            "WANDB_MODE": "disabled",
            "PYTHONWARNINGS": "ignore",
            "OMP_NUM_THREADS": "1",
            # a checkout that is not installed is found too, whatever the working folder
            "PYTHONPATH": os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])),
        }
        with open(self._log(), "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "recaption.source.download.worker", str(self.folder / "run.json")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True,
            )  # fmt: skip
            try:
                self._watch(process, network, limits, report)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # also when it ended: its workers may not have
                process.wait()

    def _watch(self, process: subprocess.Popen[bytes], network: Network, limits: Limits, report: Any) -> None:
        # A worker killed for memory leaves img2dataset's pool waiting for ever. A row takes at most limits.seconds, and
        # a hundred failed ones are held back before the table grows, so that files which stand still mean just that.
        patience = 120 + limits.seconds * (2 + math.ceil(100 / network.threads))
        seen, since, told, started = -1, time.monotonic(), -1, time.monotonic()
        while process.poll() is None:
            time.sleep(0.2)
            done = self.finished()
            if len(done) != told:
                told = len(done)
                self._tell(done, time.monotonic() - started, report)
            size = sum(entry.stat().st_size for entry in os.scandir(self.out) if entry.is_file())
            if size != seen:
                seen, since = size, time.monotonic()
            elif time.monotonic() - since > patience:
                report(f"pass {self.number + 1}: nothing came for {patience:.0f} s; starting img2dataset again")
                return

    def _tell(self, done: list[Path], seconds: float, report: Callable[[str], None]) -> None:
        stored = asked = 0
        for path in done:
            try:
                stats = json.loads(path.read_text("utf-8"))
            except ValueError:  # being written
                continue
            stored, asked = stored + stats["successes"], asked + stats["count"]
        report(
            f"pass {self.number + 1}: {len(done)} of {self.shards} shards, {stored:,} of {asked:,} URLs stored, "
            f"{self.rows - asked:,} to go, {seconds:.0f} s"
        )

    def _settings(self, network: Network, limits: Limits) -> dict[str, Any]:
        keep = network.image_size is None
        return {
            "url_list": str(self.folder / "urls"),
            "input_format": "parquet",
            "url_col": "url",
            "save_additional_columns": ["row"],
            "output_folder": str(self.out),
            "output_format": "webdataset",
            "number_sample_per_shard": self.shard_size,
            "processes_count": min(network.processes, self.shards),
            "thread_count": network.threads,
            "timeout": network.timeout,
            "retries": 0,  # at once and in the same thread: no use against a server that is busy
            "image_size": network.image_size or 256,
            "resize_mode": "no" if keep else "keep_ratio",
            "resize_only_if_bigger": True,
            "skip_reencode": True,
            "disable_all_reencoding": keep,
            "compute_hash": "sha256",
            "extract_exif": False,
            "enable_wandb": False,
            "incremental_mode": "incremental",
            "user_agent_token": limits.user_agent_token,
            "disallowed_header_directives": list(DIRECTIVES) if limits.respect_opt_out else [],
        }

    def asked(self) -> Iterator[tuple[int, list[int]]]:
        """(shard, its rows in the list's order). A row group of the list is a shard."""
        shard = 0
        for path in sorted((self.folder / "urls").glob("*.parquet")):
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    yield shard, file.read_row_group(group, columns=["row"], use_threads=False)["row"].to_pylist()
                    shard += 1

    def outcomes(self) -> Iterator[Outcome]:
        """What became of each row, in order of rows; a row that img2dataset lost track of is `lost`."""
        for shard, rows in self.asked():
            path = self.out / f"{shard:05d}.parquet"
            try:
                table = read_table(path, columns=["row", "key", "status", "error_message", "sha256"])
            except (OSError, pa.ArrowInvalid) as error:
                raise self.broken(path, error) from error
            found = {record["row"]: record for record in table.to_pylist()}
            for row in rows:
                yield self._outcome(row, found.get(row), path.with_suffix(".tar"))

    def _outcome(self, row: int, record: dict[str, Any] | None, tar: Path) -> Outcome:
        if record is None:
            return Outcome(row, self.number, reason="lost", detail="img2dataset left no record of it")
        if record["status"] == "success":
            return Outcome(row, self.number, record["key"], record["sha256"], tar)
        reason, detail = split(record["status"], record["error_message"])
        return Outcome(row, self.number, reason=reason, detail=detail)

    def broken(self, path: Path, error: Exception) -> ShardError:
        """A shard that a crash or a full disk left broken is made anew the next time."""
        (self.out / f"{path.stem}_stats.json").unlink(missing_ok=True)
        return ShardError(f"{path} cannot be read ({error}). Run the same command again: it is downloaded anew")
