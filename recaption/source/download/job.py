"""The download as a whole: settings, passes, summary, and the record with which the same command continues."""

from __future__ import annotations

import json
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recaption.errors import Interrupted, MissingExtra, UserError
from recaption.source.download import lists, outcomes
from recaption.source.download.passes import Passes, Settings

_RESUMABLE = {"processes", "threads", "timeout", "max_seconds", "pause", "user_agent_token"}  # may differ in a rerun


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
        wrong = (
            f"{e['loc'][0]} is {e['input']!r}: {Settings.hint(str(e['loc'][0])) or e['msg']}" for e in error.errors()
        )
        raise UserError("; ".join(wrong)) from error
    for module in ("img2dataset", "imghdr"):  # img2dataset imports imghdr, which Python 3.13 no longer has
        if find_spec(module) is None:
            raise MissingExtra(module.replace("imghdr", "standard-imghdr"), "download")
    folder = Path(out).expanduser().absolute()
    if "://" in out or (folder.exists() and not folder.is_dir()) or re.search(r"[*?\[\]]", str(folder)):
        raise UserError(
            f"output {out!r}: expected a local folder, without * ? [ ], which img2dataset reads as patterns"
        )
    record = {
        "list": [[path.name, path.stat().st_size] for path in lists.find(urls)[0]],
        **settings.model_dump(mode="json", exclude=_RESUMABLE),
    }
    with _stoppable(), _held(folder, record) as finished:
        if finished:
            report(f"{out} is finished already: nothing to do")
            return DownloadSummary(**finished)
        passes = Passes(out=folder, settings=settings, report=report)
        if not passes.urls.is_dir():
            for old, new in lists.write(urls, passes.urls, settings).items():
                report(f"column {old} is stored as {new}: img2dataset uses the name {old}")
        summary = _run(passes)
        _write_json(
            folder / "download.json",
            {"settings": record, "user_agent_token": settings.user_agent_token, "summary": asdict(summary)},
        )
        _remove(folder)
        return summary


def _run(passes: Passes) -> DownloadSummary:
    passes.run()
    first, settings = passes.shards("00-*.parquet"), passes.settings
    for number in range(1, settings.second_passes + 1):
        path = passes.urls / f"{number:02d}-00000.parquet"
        rows = 0 if path.exists() else outcomes.write_transient(passes.out, passes.urls, path)
        if rows:
            passes.report(f"second pass: {rows:,} URLs that failed temporarily, in {settings.pause:g} s")
            time.sleep(settings.pause)
        passes.gentler().run()
    outcomes.write_failed(passes.out, passes.urls, passes.out / "failed.parquet")
    totals, shards = outcomes.totals(passes.out, passes.urls, first), passes.shards()
    pattern = f"{{00000..{shards - 1:05d}}}" if shards > 1 else "00000"
    path = passes.out / f"{pattern}.{'tar' if settings.format == 'webdataset' else 'parquet'}"
    return DownloadSummary(**totals, shards=shards, path=str(path))


@contextmanager
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


@contextmanager
def _held(folder: Path, record: Mapping[str, Any]) -> Iterator[dict[str, Any] | None]:
    """Lock the output folder. Yields the summary of a finished download, else None.

    Raises UserError: another process holds it, it holds other files, or a download with other settings.
    """
    import fcntl

    work, finished, state = folder / ".download", folder / "download.json", folder / ".download" / "settings.json"
    if not work.is_dir() and not finished.is_file() and folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"output {folder} is not empty and is no download; choose a new folder")
    old = json.loads(finished.read_text("utf-8")) if finished.is_file() else None
    if old is None and state.is_file():
        old = {"settings": json.loads(state.read_text("utf-8")), "summary": None}
    if old and (differ := [f"{k} was {old['settings'].get(k)}, is {v}" for k, v in record.items()
                           if old["settings"].get(k) != v]):  # fmt: skip
        raise UserError(f"{folder} has a download with other settings: {'; '.join(differ)}. Choose a new folder")
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
        _write_json(state, record)
        yield None


def _write_json(path: Path, value: Any) -> None:
    temporary = path.with_name(f".tmp-{path.name}")
    temporary.write_text(json.dumps(value, indent=2), "utf-8")
    temporary.replace(path)


def _remove(folder: Path) -> None:
    """Remove what only an unfinished download needs: our state and img2dataset's."""
    shutil.rmtree(folder / ".download", ignore_errors=True)
    shutil.rmtree(folder / "_tmp", ignore_errors=True)
