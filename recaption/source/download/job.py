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
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, StringConstraints, ValidationError

from recaption.errors import Interrupted, MissingExtra, StoreError, UserError
from recaption.io.files import is_url
from recaption.source.download import lists, outcomes
from recaption.source.download.opener import DIRECTIVES

_TOKEN: Final = StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")
_CHECKS: Final = {"max_bytes", "max_seconds", "respect_opt_out", "user_agent_token"}  # settings of `opener.Checks`
_RESUMABLE: Final = {"processes", "threads", "timeout", "max_seconds", "pause", "user_agent_token"}  # may change


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
    processes: PositiveInt = os.cpu_count() or 1
    threads: PositiveInt = 64  # of each process
    timeout: PositiveFloat = 10.0  # seconds without a byte
    max_seconds: PositiveFloat = 60.0  # of a response in total
    second_passes: int = Field(default=1, ge=0)
    pause: float = Field(default=30.0, ge=0)  # seconds before a second pass
    max_bytes: PositiveInt = 32 << 20  # of an image
    respect_opt_out: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadSummary:
    """urls = downloaded + sum(failed.values()), always."""

    urls: int
    downloaded: int
    failed: Mapping[str, int]  # reason -> URLs, opt-outs included
    recovered: int  # of the downloaded: those of a second pass
    shards: int
    path: str  # pattern of the shards, for `source.path` of a pipeline

    def lines(self) -> list[str]:
        reasons = ", ".join(f"{n:,} {name}" for name, n in self.failed.items())
        return [
            f"{self.urls:,} URLs = {self.downloaded:,} images + {sum(self.failed.values()):,} failed",
            *([f"{self.recovered:,} of the images came in the second pass"] if self.recovered else []),
            *([f"{reasons} (see failed.parquet)"] if reasons else []),
            f"{self.shards} shards: {self.path}",
        ]


def download(urls: str, out: str, *, report: Callable[[str], None] = print, **options: Any) -> DownloadSummary:
    """Download the images of a list of URLs into img2dataset's shards. The same call continues an interrupted one.

    `urls`: txt (one URL per line), csv, tsv, jsonl, json, parquet, .gz of the text formats, or a folder of one kind.
    `out`: a local folder. `options`: fields of `Settings`.

    Raises UserError (wrong arguments), MissingExtra (no img2dataset), StoreError (img2dataset failed; run again),
    Interrupted (Ctrl-C or SIGTERM; run again).
    """
    try:
        settings = Settings(**options)
    except ValidationError as error:
        hints = {name: field.description for name, field in Settings.model_fields.items()}
        faults = [(str(e["loc"][0]), e["input"], e["msg"]) for e in error.errors()]
        raise UserError("; ".join(f"{name} is {v!r}: {hints.get(name) or text}" for name, v, text in faults)) from error
    for module in ("img2dataset", "imghdr"):  # img2dataset imports imghdr, which Python 3.13 no longer has
        if find_spec(module) is None:
            raise MissingExtra(module.replace("imghdr", "standard-imghdr"), "download")
    folder = Path(out).expanduser().absolute()
    if is_url(out) or (folder.exists() and not folder.is_dir()) or re.search(r"[*?\[\]]", str(folder)):
        raise UserError(
            f"output {out!r}: expected a local folder, without * ? [ ], which img2dataset reads as patterns"
        )
    files = [[path.name, path.stat().st_size] for path in lists.find(urls)[0]]
    record = {"list": files, **settings.model_dump(mode="json", exclude=_RESUMABLE)}
    with _stoppable(), _held(folder, record) as finished:
        if finished:
            report(f"{out} is finished already: nothing to do")
            return DownloadSummary(**finished)
        listed = folder / ".download" / "urls"
        if not listed.is_dir():
            for old, new in lists.write(urls, listed, settings).items():
                report(f"column {old} is stored as {new}: img2dataset uses the name {old}")
        summary = _run(folder, listed, settings, report)
        _write_json(folder / "download.json", {"settings": record, "summary": asdict(summary)})
        _remove(folder)
        return summary


def _run(out: Path, urls: Path, settings: Settings, report: Callable[[str], None]) -> DownloadSummary:
    """All passes. img2dataset numbers the shards through all files in `urls`: a second pass adds a file to them."""
    _run_img2dataset(out, urls, settings, report)
    threads, timeout = max(1, settings.threads // 4), 2 * settings.timeout
    gentler = {"threads": threads, "timeout": timeout, "max_seconds": 2 * settings.max_seconds}
    for number in range(1, settings.second_passes + 1):
        path = urls / f"{number:02d}-00000.parquet"
        rows = 0 if path.exists() else outcomes.write_transient(out, urls, path)
        if rows:
            report(f"second pass: {rows:,} URLs that failed temporarily, in {settings.pause:g} s")
            time.sleep(settings.pause)
        _run_img2dataset(out, urls, settings.model_copy(update=gentler), report)
    outcomes.write_failed(out, urls, out / "failed.parquet")
    shards = _shards(urls, settings)
    totals = outcomes.totals(out, urls, _shards(urls, settings, "00-*.parquet"))
    pattern = f"{{00000..{shards - 1:05d}}}" if shards > 1 else "00000"
    path = out / f"{pattern}.{'tar' if settings.format == 'webdataset' else 'parquet'}"
    return DownloadSummary(**totals, shards=shards, path=str(path))


def _shards(urls: Path, settings: Settings, files: str = "*.parquet") -> int:
    """How many shards the list, or a part of its files, makes."""
    return sum(math.ceil(pq.read_metadata(path).num_rows / settings.samples_per_shard) for path in urls.glob(files))


def _finished(out: Path) -> int:
    return len(list(out.glob("*_stats.json")))


def _run_img2dataset(out: Path, urls: Path, settings: Settings, report: Callable[[str], None]) -> None:
    """Run img2dataset in a separate process; it skips finished shards. Raises StoreError if shards are missing."""
    shards, log = _shards(urls, settings), urls.with_name("log.txt")
    columns = pq.read_schema(min(urls.glob("*.parquet"))).names
    if _finished(out) == shards:
        return
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
    given = json.dumps({"img2dataset": arguments, "checks": settings.model_dump(include=_CHECKS)})
    # It would request its newest version number on import.
    env = os.environ | {"RECAPTION_DOWNLOAD": given, "NO_ALBUMENTATIONS_UPDATE": "1"}
    command = [sys.executable, "-m", "recaption.source.download.opener"]
    with (
        open(log, "ab") as end,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=end, stderr=end, env=env, start_new_session=True
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
    """Until the process ends, or its files stop growing: img2dataset waits forever for a worker that was killed.

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
def _stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise Interrupted."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if main else None
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted("the download was stopped; run the same command again to continue") from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _held(folder: Path, record: Mapping[str, Any]) -> Iterator[dict[str, Any] | None]:
    """Lock the output folder. Yields the summary of a finished download, else None.

    Raises UserError: another process holds it, it holds other files, or another download.
    """
    import fcntl

    work, finished, state = folder / ".download", folder / "download.json", folder / ".download" / "settings.json"
    if not work.is_dir() and not finished.is_file() and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"output {folder} is not empty and is no download; choose a new folder")
    old = next((json.loads(path.read_text("utf-8")) for path in (finished, state) if path.is_file()), None)
    if old and not {"settings", "summary"} <= old.keys():
        raise UserError(f"{folder} has a download that an earlier version did not finish. Choose a new folder")
    if old and old["settings"] != record:
        raise UserError(f"{folder} has a download with other settings: {old['settings']}. Choose a new folder")
    if old and old["summary"]:
        _remove(folder)
        yield old["summary"]
        return
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process is downloading into {folder}; wait for it, or end it") from error
        except OSError:
            pass  # a file system without locks
        _write_json(state, {"settings": record, "summary": None})
        yield None


def _write_json(path: Path, value: Any) -> None:
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_text(json.dumps(value, indent=2), "utf-8")
    temporary.replace(path)


def _remove(folder: Path) -> None:
    """Remove what only an unfinished download needs: our state and img2dataset's."""
    shutil.rmtree(folder / ".download", ignore_errors=True)
    shutil.rmtree(folder / "_tmp", ignore_errors=True)
