"""The download as a whole: checks, passes, shards, and a state on disk that lets the same command continue."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow.parquet as pq

from recaption.errors import Interrupted, MissingExtra, UserError
from recaption.source.download import urls as lists
from recaption.source.download.fetch import Limits
from recaption.source.download.passes import Network, Pass
from recaption.source.download.reasons import TRANSIENT
from recaption.source.download.repack import Repack, final, remove, write_json

_TOKEN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_ASK: Final = (
    "a download needs a name that web site owners can recognise it by: --user-agent-token NAME (letters, digits, "
    "_ . -; for instance your group's or project's name). It is sent with every request, so that owners see who "
    "fetches their images, can ask you to stop, and can opt out of this download alone (`X-Robots-Tag: NAME: noai`)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class DownloadSummary:
    """urls = downloaded + sum(failed.values()), always."""

    urls: int
    downloaded: int
    failed: Mapping[str, int]  # reason -> URLs; the reasons are `reasons.REASONS`
    recovered: int  # of the downloaded: those that came in a second pass
    shards: int
    path: str  # the shards as a pattern, for `source.path` of a pipeline

    def lines(self) -> list[str]:
        """The summary in words, a fact per line."""
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
    """Download the images of a list of URLs into equal shards; run again, it continues.

    `urls`: txt (a URL per line), csv, tsv, jsonl, json, parquet, .gz, or a folder of one kind. `out`: a local folder.
    `threads`: per process. `timeout`: seconds without a byte; `max_seconds`: for all of a URL, redirects included,
    None: six times `timeout`. `pause`: seconds before a second pass, which has a quarter of the threads and twice the
    time. `image_size`: pixels of the shorter side, larger images are scaled down to it by img2dataset; None keeps every
    byte as it came. `max_bytes`: of one image.

    Raises UserError (what was given cannot be done), MissingExtra (no img2dataset), StoreError (img2dataset keeps
    ending early, disk full), ShardError (a broken intermediate file; run again), Interrupted (stopped; run again).
    """
    if not (user_agent_token or "").strip():
        raise UserError(_ASK)
    token = str(user_agent_token).strip()
    if not _TOKEN.fullmatch(token):
        raise UserError(f"user agent token {token!r}: {_ASK}")
    if format not in ("webdataset", "parquet"):
        raise UserError(f"format {format!r}: expected webdataset or parquet")
    numbers = {"samples_per_shard": samples_per_shard, "threads": threads, "timeout": timeout, "max_bytes": max_bytes,
               "processes": processes or 1, "image_size": image_size or 1,
               "max_seconds": 1 if max_seconds is None else max_seconds}  # fmt: skip
    for name, number in numbers.items():
        if number <= 0:
            raise UserError(f"{name} is {number}: expected more than 0")
    if second_passes < 0 or pause < 0:
        raise UserError(f"second_passes {second_passes}, pause {pause}: expected 0 or more")
    for module in ("img2dataset", "imghdr"):  # Python 3.13 left imghdr out, img2dataset still imports it
        if find_spec(module) is None:
            raise MissingExtra(module.replace("imghdr", "standard-imghdr"), "download")
    folder = _local(out)
    found = lists.find(urls)
    lists.check(found, url_column, caption_column or None)
    settings = {
        "urls": lists.digest(found), "url_column": url_column, "caption_column": caption_column or None,
        "format": format, "samples_per_shard": samples_per_shard, "second_passes": second_passes,
        "image_size": image_size, "max_bytes": max_bytes, "respect_opt_out": respect_opt_out,
    }  # fmt: skip
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    network = Network(processes=processes or cpus, threads=threads, timeout=timeout, image_size=image_size)
    limits = Limits(
        max_bytes=max_bytes, seconds=max_seconds or 6 * timeout, respect_opt_out=respect_opt_out, user_agent_token=token
    )
    with _locked(folder, settings) as finished:
        if finished:
            report(f"{out} is finished already: nothing to do")
            return _summary(finished)
        try:
            return _Job(folder, settings, network, limits, report).run(found, second_passes, pause)
        except KeyboardInterrupt as error:
            raise Interrupted("the download was stopped; run the same command again to continue") from error


class _Job:
    def __init__(
        self, out: Path, settings: Mapping[str, Any], network: Network, limits: Limits, report: Callable[[str], None]
    ) -> None:
        self.out, self.work, self.settings = out, out / ".download", settings
        self.network, self.limits, self.report = network, limits, report

    def run(self, found: lists.UrlList, second_passes: int, pause: float) -> DownloadSummary:
        rows = self._list(found)
        passes: list[Pass] = []
        for number in range(1 + second_passes):
            if number == 0:
                wanted = self._all()
            else:
                wanted = self._transient(passes)
                rows = sum(1 for _ in self._transient(passes))
            one = Pass.plan(self.work, number, wanted, self.network.processes, rows)
            if not one.rows:
                break
            passes.append(one)
            if len(one.finished()) < one.shards:
                self._pass(one, pause)
        repack = Repack(
            self.out, passes, self.work / "list.parquet", kind=self.settings["format"],
            size=self.settings["samples_per_shard"], exact=self.settings["image_size"] is None,
        )  # fmt: skip
        shards = repack.shards(self.report)
        failed, stored, recovered = repack.failed()
        suffix = "tar" if self.settings["format"] == "webdataset" else "parquet"
        pattern = f"{{00000..{shards - 1:05d}}}" if shards > 1 else "00000"
        summary = DownloadSummary(
            urls=stored + sum(failed.values()), downloaded=stored, failed=dict(failed.most_common()),
            recovered=recovered, shards=shards, path=str(self.out / f"{pattern}.{suffix}"),
        )  # fmt: skip
        write_json(
            self.out / "download.json",
            {
                "settings": self.settings,
                "user_agent_token": self.limits.user_agent_token,
                "summary": asdict(summary),
            },
        )
        remove(self.work)
        return summary

    def _list(self, found: lists.UrlList) -> int:
        path = self.work / "list.parquet"
        if not path.is_file():
            rows, renamed = lists.normalise(
                found, path, url_column=self.settings["url_column"], caption_column=self.settings["caption_column"],
                rows_per_group=5_000,
            )  # fmt: skip
            for old, new in renamed.items():
                self.report(f"column {old} is kept as {new}: {old} is a name of the output's own")
            if rows == 0:
                raise UserError(f"{', '.join(map(str, found.files))}: there is no URL in it")
        return int(pq.read_metadata(path).num_rows)

    def _all(self) -> Iterator[tuple[int, str | None]]:
        with pq.ParquetFile(self.work / "list.parquet") as file:
            for batch in file.iter_batches(columns=["row", "url"], use_threads=False):
                yield from zip(batch.column(0).to_pylist(), batch.column(1).to_pylist(), strict=True)

    def _transient(self, passes: Sequence[Pass]) -> Iterator[tuple[int, str | None]]:
        """(row, url) of the rows whose last failure is worth another try."""
        outcomes = final(passes)
        for row, url in self._all():
            outcome = next(outcomes)[0]
            assert outcome.row == row
            if not outcome.tar and outcome.reason in TRANSIENT:
                yield row, url

    def _pass(self, one: Pass, pause: float) -> None:
        network, limits = self.network, self.limits
        if one.number:
            self.report(f"second pass: {one.rows:,} URLs that failed for the moment, in {pause:g} s, more gently")
            time.sleep(pause)
            network = Network(
                processes=network.processes, threads=max(1, network.threads // 4), timeout=2 * network.timeout,
                image_size=network.image_size,
            )  # fmt: skip
            limits = Limits(
                max_bytes=limits.max_bytes, seconds=2 * limits.seconds, respect_opt_out=limits.respect_opt_out,
                user_agent_token=limits.user_agent_token,
            )  # fmt: skip
        one.run(network, limits, self.report)


def _local(out: str) -> Path:
    if "://" in out or "::" in out:
        raise UserError(f"output {out!r}: a download goes to a local folder; copy the finished shards from there")
    folder = Path(out).expanduser().absolute()
    if re.search(r"[*?\[\]]", str(folder)):
        raise UserError(f"output {folder}: the path must be without * ? [ ], which img2dataset takes for patterns")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"output {folder} is a file; expected a folder, new or of a download to be continued")
    return folder


@contextmanager
def _locked(folder: Path, settings: Mapping[str, Any]) -> Iterator[dict[str, Any] | None]:
    """Hold the output folder. Gives the finished download's record, if it is finished.

    Raises UserError when the folder has something else in it, or another process downloads into it.
    """
    work, record = folder / ".download", folder / "download.json"
    if record.is_file():
        finished = json.loads(record.read_text("utf-8"))
        _same(finished["settings"], settings, folder)
        remove(work)
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
        if state.is_file():
            _same(json.loads(state.read_text("utf-8")), settings, folder)
        else:
            write_json(state, settings)
        yield None


def _same(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> None:
    differ = [f"{name} was {old.get(name)}, is {new[name]}" for name in new if old.get(name) != new[name]]
    if differ:
        raise UserError(
            f"{folder} has a download with other settings: {'; '.join(differ)}. Give the same ones, or a new folder"
        )


def _summary(record: Mapping[str, Any]) -> DownloadSummary:
    return DownloadSummary(**record["summary"])
