"""The download as a whole: arguments, passes, summary, and the record with which the same command continues."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from recaption.errors import Interrupted, MissingExtra, UserError
from recaption.source.download import lists
from recaption.source.download.opener import Limits
from recaption.source.download.outcomes import Outcomes
from recaption.source.download.passes import Passes

_TOKEN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


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
        text = [f"{self.urls:,} URLs = {self.downloaded:,} images + {sum(self.failed.values()):,} failed"]
        if self.recovered:
            text.append(f"{self.recovered:,} of the images came in the second pass")
        if self.failed:
            text.append(", ".join(f"{n:,} {name}" for name, n in self.failed.items()) + " (see failed.parquet)")
        return [*text, f"{self.shards} shards: {self.path}"]


def download(
    urls: str,
    out: str,
    *,
    user_agent_token: str | None,
    url_column: str = "url",
    caption_column: str | None = "caption",
    format: Literal["webdataset", "parquet"] = "webdataset",
    samples_per_shard: int = 5_000,
    processes: int | None = None,
    threads: int = 64,
    timeout: float = 10.0,
    max_seconds: float | None = None,
    second_passes: int = 1,
    pause: float = 30.0,
    image_size: int | None = None,
    max_bytes: int = 32 << 20,
    respect_opt_out: bool = True,
    report: Callable[[str], None] = print,
) -> DownloadSummary:
    """Download the images of a list of URLs into img2dataset's shards. The same call continues an interrupted one.

    `urls`: txt (one URL per line), csv, tsv, jsonl, json, parquet, .gz of the text formats, or a folder of one kind.
    `out`: a local folder. `samples_per_shard`: URLs, failures included. `threads`: per process. `timeout`: seconds
    without a byte; `max_seconds`: for the body in total, default six times `timeout`. `pause`: seconds before a second
    pass, which has a quarter of the threads and twice the time. `image_size`: pixels of the shorter side to which
    img2dataset scales larger images; None keeps the bytes as they are. `max_bytes`: of one image.

    Raises UserError (wrong arguments), MissingExtra (no img2dataset), StoreError (img2dataset fails repeatedly),
    ShardError (a broken table; run again), Interrupted (Ctrl-C or SIGTERM; run again).
    """
    token = (user_agent_token or "").strip()
    if not _TOKEN.fullmatch(token):
        raise UserError(
            f"user agent token {token!r}: a download needs a name by which site owners can recognise it: "
            "--user-agent-token NAME (letters, digits, _ . -), for instance the name of your group or project. It is "
            "sent with every request; `X-Robots-Tag: NAME: noai` opts out of this download"
        )
    if format not in ("webdataset", "parquet"):
        raise UserError(f"format {format!r}: expected webdataset or parquet")
    numbers = {"samples_per_shard": samples_per_shard, "threads": threads, "timeout": timeout, "max_bytes": max_bytes,
               "processes": processes, "image_size": image_size, "max_seconds": max_seconds}  # fmt: skip
    for name, number in numbers.items():
        if number is not None and number <= 0:
            raise UserError(f"{name} is {number}: expected more than 0")
    if second_passes < 0 or pause < 0:
        raise UserError(f"second_passes {second_passes}, pause {pause}: expected 0 or more")
    for module in ("img2dataset", "imghdr"):  # img2dataset imports imghdr, which Python 3.13 no longer has
        if find_spec(module) is None:
            raise MissingExtra(module.replace("imghdr", "standard-imghdr"), "download")
    folder = _local(out)
    settings = {
        "urls": lists.digest(urls), "url_column": url_column, "caption_column": caption_column or None,
        "format": format, "samples_per_shard": samples_per_shard, "second_passes": second_passes,
        "image_size": image_size, "max_bytes": max_bytes, "respect_opt_out": respect_opt_out,
    }  # fmt: skip
    work = folder / ".download"
    passes = Passes(
        out=folder, urls=work / "urls", log=work / "log.txt", format=format, size=samples_per_shard, threads=threads,
        processes=processes or len(os.sched_getaffinity(0)), timeout=timeout, image_size=image_size, report=report,
        limits=Limits(max_bytes=max_bytes, seconds=max_seconds or 6 * timeout, respect_opt_out=respect_opt_out,
                      user_agent_token=token),
    )  # fmt: skip
    with _stoppable(), _held(folder, settings) as finished:
        if finished:
            report(f"{out} is finished already: nothing to do")
            return DownloadSummary(**finished["summary"])
        if not passes.urls.is_dir():
            for old, new in lists.write(urls, passes.urls, url_column, caption_column or None, passes.size).items():
                report(f"column {old} is stored as {new}: img2dataset uses the name {old}")
        summary = _run(passes, work, second_passes, pause)
        record = {"settings": settings, "user_agent_token": token, "summary": asdict(summary)}
        _write_json(folder / "download.json", record)
        _remove(folder)
        return summary


def _run(passes: Passes, work: Path, second_passes: int, pause: float) -> DownloadSummary:
    passes.run()
    first = passes.shards("00-*.parquet")
    gentler = passes.gentler()
    for number in range(1, second_passes + 1):
        path = passes.urls / f"{number:02d}-00000.parquet"
        rows = 0 if path.exists() else Outcomes(passes.out, work, first).write_transient(path)
        if rows:
            passes.report(f"second pass: {rows:,} URLs that failed temporarily, in {pause:g} s")
            time.sleep(pause)
        gentler.run()
    outcomes = Outcomes(passes.out, work, first)
    outcomes.write_failed(passes.out / "failed.parquet")
    totals, shards = outcomes.totals(), passes.shards()
    pattern = f"{{00000..{shards - 1:05d}}}" if shards > 1 else "00000"
    suffix = "tar" if passes.format == "webdataset" else "parquet"
    return DownloadSummary(
        urls=totals.urls, downloaded=totals.stored, failed=totals.failed, recovered=totals.recovered, shards=shards,
        path=str(passes.out / f"{pattern}.{suffix}"),
    )  # fmt: skip


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise Interrupted."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if main else None
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted("the download was stopped; run the same command again to continue") from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def _local(out: str) -> Path:
    folder = Path(out).expanduser().absolute()
    if "://" in out or "::" in out:
        raise UserError(f"output {out!r}: expected a local folder; copy the finished shards from there")
    if re.search(r"[*?\[\]]", str(folder)):
        raise UserError(f"output {folder}: the path must not contain * ? [ ], which img2dataset reads as patterns")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output {folder} is a file; expected a new folder, or one of a download to continue")
    return folder


@contextmanager
def _held(folder: Path, settings: Mapping[str, Any]) -> Iterator[dict[str, Any] | None]:
    """Lock the output folder. Yields the record of a finished download, else None.

    Raises UserError: another process holds it, it belongs to something else, or to a download with other settings.
    """
    work, record = folder / ".download", folder / "download.json"
    if record.is_file():
        finished = json.loads(record.read_text("utf-8"))
        _same(finished["settings"], settings, folder)
        _remove(folder)
        yield finished
        return
    if not work.is_dir() and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"output {folder} is not empty and is no download; choose a new folder")
    work.mkdir(parents=True, exist_ok=True)
    with open(work / "lock", "a") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"another process is downloading into {folder}; wait for it, or end it") from error
        except (ImportError, OSError):
            pass  # a system or file system without locks
        state = work / "state.json"
        with suppress(FileNotFoundError):
            _same(json.loads(state.read_text("utf-8")), settings, folder)
        _write_json(state, settings)
        yield None


def _same(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> None:
    differ = [f"{name} was {old.get(name)}, is {new[name]}" for name in new if old.get(name) != new[name]]
    if differ:
        raise UserError(
            f"{folder} has a download with other settings: {'; '.join(differ)}. Use the same settings, or a new folder"
        )


def _write_json(path: Path, value: Any) -> None:
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_text(json.dumps(value, indent=2), "utf-8")
    temporary.replace(path)


def _remove(folder: Path) -> None:
    """What only an unfinished download needs: ours and img2dataset's."""
    shutil.rmtree(folder / ".download", ignore_errors=True)
    shutil.rmtree(folder / "_tmp", ignore_errors=True)
