"""The download as a whole: settings, img2dataset's process, summary, and the record with which a rerun continues."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow.parquet as pq

from recaption.errors import MissingExtra, StoreError, UserError
from recaption.formatting import number_of
from recaption.io.files import is_url
from recaption.io.store import LocalStore
from recaption.source import urllist
from recaption.source.download import results
from recaption.source.download.opener import DIRECTIVES

PAUSE: Final = 30.0  # seconds before the second pass
_TOKEN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_CHECKS: Final = ("max_bytes", "max_seconds", "respect_opt_out", "user_agent_token")  # settings of `opener.Checks`
_MAY_CHANGE: Final = ("processes", "threads", "timeout", "max_seconds", "user_agent_token")  # may differ in a rerun
_RECORD, _STATE = "download.json", ".download/settings.json"  # of a finished and of an unfinished download


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """How to download."""

    user_agent_token: str | None  # the name under which the owners of sites can opt out
    url_column: str = "url"
    caption_column: str | None = "caption"
    format: Literal["webdataset", "parquet"] = "webdataset"
    samples_per_shard: int = 5_000  # URLs, failures included
    processes: int = os.cpu_count() or 1
    threads: int = 64  # of each process
    timeout: float = 10.0  # seconds without a byte
    max_seconds: float = 60.0  # of a response in total
    max_bytes: int = 32 << 20  # of an image
    respect_opt_out: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadSummary:
    """urls = downloaded + sum(failed.values()), always."""

    urls: int
    downloaded: int
    failed: Mapping[str, int]  # reason -> URLs, opt-outs included
    recovered: int  # downloaded in the second pass; part of `downloaded`
    shards: int
    path: str  # pattern of the shards, for `source.path` of a pipeline

    def lines(self) -> list[str]:
        reasons = ", ".join(f"{n:,} {name}" for name, n in self.failed.items())
        return [
            f"{number_of(self.urls, 'URL')} = {number_of(self.downloaded, 'image')} + "
            f"{sum(self.failed.values()):,} failed",
            *([f"downloaded in the second pass: {number_of(self.recovered, 'image')}"] if self.recovered else []),
            *([f"{reasons} (see failed.parquet)"] if reasons else []),
            f"{number_of(self.shards, 'shard')}: {self.path}",
        ]


def download(urls: str, out: str, settings: Settings, report: Callable[[str], None] = print) -> DownloadSummary:
    """Download the images of a list of URLs into img2dataset's shards. The same call continues an interrupted one.

    `urls`: txt (one URL per line), csv, tsv, jsonl, json, parquet, .gz of the text formats, or a folder of one kind.
    `out`: a local folder. Raises UserError (the token, the list or the folder cannot be used), MissingExtra (no
    img2dataset), StoreError (img2dataset failed; run again).
    """
    if not _TOKEN.fullmatch(settings.user_agent_token or ""):
        raise UserError(
            f"--user-agent-token is {settings.user_agent_token or 'missing'}: give the name of your project or group "
            "(letters, digits, _ . -). It is sent with each request; sites can reply `X-Robots-Tag: NAME: noai`"
        )
    for module in ("img2dataset", "imghdr"):  # img2dataset imports imghdr, which Python 3.13 no longer has
        if find_spec(module) is None:
            raise MissingExtra(module.replace("imghdr", "standard-imghdr"), "download")
    folder = Path(out).expanduser().absolute()
    if is_url(out) or (folder.exists() and not folder.is_dir()) or re.search(r"[*?\[\]]", str(folder)):
        raise UserError(
            f"output {out!r}: expected a local folder, without * ? [ ], which img2dataset takes as wildcards"
        )
    record = {name: value for name, value in asdict(settings).items() if name not in _MAY_CHANGE}
    record["list"] = [[path.name, path.stat().st_size] for path in urllist.find(urls)[0]]
    with _held(folder, record) as finished:
        if finished:
            report(f"{out} is already complete: nothing to do")
            return DownloadSummary(**finished)
        listed = folder / ".download" / "urls"
        if not listed.is_dir():
            columns = settings.url_column, settings.caption_column
            try:
                urllist.write(urls, listed, *columns, settings.samples_per_shard)
            except (UserError, KeyboardInterrupt):
                (folder / _STATE).unlink()  # nothing is downloaded yet: the next call may have other settings
                raise
        summary = _run(folder, listed, settings, report)
        _write_json(folder / _RECORD, {"settings": record, "summary": asdict(summary)})
        return summary


def _run(out: Path, urls: Path, settings: Settings, report: Callable[[str], None]) -> DownloadSummary:
    """Both passes. img2dataset numbers the shards through all files in `urls`: the second pass adds a file to them.

    The second pass has a quarter of the threads and twice the time.
    """
    second = urls / "01-00000.parquet"
    first_shards = _shards(urls.glob("00-*.parquet"), settings)
    if not second.exists():
        _run_img2dataset(out, urls, settings, report)
        totals = results.write_failed(out, urls, first_shards)
        if rows := results.write_second_list(out, second):
            report(f"second pass: {number_of(rows, 'URL')} that failed temporarily, in {PAUSE:g} s")
            time.sleep(PAUSE)
    if second.exists():
        gentler = replace(
            settings,
            threads=max(1, settings.threads // 4),
            timeout=2 * settings.timeout,
            max_seconds=2 * settings.max_seconds,
        )
        _run_img2dataset(out, urls, gentler, report)
        totals = results.write_failed(out, urls, first_shards)
    shards = _shards(urls.iterdir(), settings)
    pattern = f"{{00000..{shards - 1:05d}}}" if shards > 1 else "00000"
    path = out / f"{pattern}.{'tar' if settings.format == 'webdataset' else 'parquet'}"
    return DownloadSummary(**totals, shards=shards, path=str(path))


def _shards(files: Iterable[Path], settings: Settings) -> int:
    """How many shards img2dataset makes of these files."""
    return sum(math.ceil(pq.read_metadata(path).num_rows / settings.samples_per_shard) for path in files)


def _finished(out: Path) -> int:
    return len(list(out.glob("*_stats.json")))


def _run_img2dataset(out: Path, urls: Path, settings: Settings, report: Callable[[str], None]) -> None:
    """Run img2dataset in a separate process; it skips finished shards. Raises StoreError if shards are missing."""
    shards, log = _shards(urls.iterdir(), settings), urls.with_name("log.txt")
    if _finished(out) == shards:
        return
    columns = pq.read_schema(urls / "00-00000.parquet").names
    arguments = {
        "url_list": str(urls),
        "input_format": "parquet",
        "caption_col": "caption" if "caption" in columns else None,
        "save_additional_columns": [name for name in columns if name not in ("url", "caption")],
        "output_folder": str(out),
        "output_format": settings.format,
        "number_sample_per_shard": settings.samples_per_shard,
        "processes_count": min(settings.processes, shards - _finished(out)),
        "thread_count": settings.threads,
        "timeout": settings.timeout,
        "resize_mode": "no",
        "disable_all_reencoding": True,
        "extract_exif": False,
        "compute_hash": "sha256",
        "user_agent_token": settings.user_agent_token,
        "disallowed_header_directives": list(DIRECTIVES) if settings.respect_opt_out else [],
    }
    given = json.dumps({"img2dataset": arguments, "checks": {name: getattr(settings, name) for name in _CHECKS}})
    # albumentations would request its newest version number on import.
    env = os.environ | {"RECAPTION_DOWNLOAD": given, "NO_ALBUMENTATIONS_UPDATE": "1"}
    command = [sys.executable, "-m", "recaption.source.download.opener"]
    with (
        log.open("ab") as end,
        subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=end, stderr=end, start_new_session=True
        ) as process,
    ):
        try:
            _watch(process, out, settings, lambda finished: report(f"{finished} of {shards} shards"))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if (finished := _finished(out)) < shards:
        tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-12:])
        raise StoreError(
            f"img2dataset finished {finished} of {shards} shards; run the same command again to continue. "
            f"The end of {log}:\n{tail}"
        )


def _watch(process: subprocess.Popen[bytes], out: Path, settings: Settings, report: Callable[[int], None]) -> None:
    """Wait until the process ends or its files stop growing: img2dataset waits forever for a worker that was killed.

    Its tables grow by 100 rows at a time, and a row takes at most `max_seconds`.
    """
    patience = 120 + settings.max_seconds * (2 + math.ceil(100 / settings.threads))
    size, since, reported = -1, time.monotonic(), -1
    while process.poll() is None and time.monotonic() - since < patience:
        time.sleep(0.2)
        if (finished := _finished(out)) != reported:
            reported = finished
            report(finished)
        now = sum(entry.stat().st_size for entry in os.scandir(out) if entry.is_file())
        size, since = now, time.monotonic() if now != size else since


@contextlib.contextmanager
def _held(folder: Path, record: dict[str, Any]) -> Iterator[dict[str, Any] | None]:
    """Lock the output folder. Yields the summary of a finished download, else None. Removes the state at the end.

    Raises UserError: another process holds it, or it contains other files or another download.
    """
    import fcntl

    work, state, finished = folder / ".download", folder / _STATE, folder / _RECORD
    known = [path for path in (finished, state) if path.is_file()]
    if not work.is_dir() and not known and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"output {folder} is neither empty nor a download; choose a new folder")
    old: dict[str, Any] = json.loads(known[0].read_text("utf-8")) if known else {"settings": record, "summary": None}
    settings = old.get("settings", {})
    if other := [name for name in record if settings.get(name) != record[name]]:
        raise UserError(
            f"{folder} contains a download with another {', '.join(other)} ({settings or 'of an earlier version'}). "
            "Continue it with the same list and settings, or choose a new folder"
        )
    if old["summary"]:
        yield old["summary"]
    else:
        work.mkdir(parents=True, exist_ok=True)
        with open(work / "lock", "a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(f"another process is downloading into {folder}; wait for it, or end it") from error
            except OSError:
                pass  # a file system without locks
            _write_json(state, old)
            yield None
    shutil.rmtree(work, ignore_errors=True)
    shutil.rmtree(folder / "_tmp", ignore_errors=True)  # img2dataset's


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    LocalStore(path.parent).put(path.name, json.dumps(value, indent=2).encode())
