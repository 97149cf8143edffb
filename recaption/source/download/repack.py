"""The passes' shards become the download's: rows in the order of the list, the same number of images in each shard.

    OUT/00000.tar             <key>.<jpg|png|webp|…> as the server sent it, <key>.txt the caption, <key>.json
        00000.parquet         the same columns as the .json, without images     (format webdataset)
        00000.parquet         columns, and image {bytes, path}                  (format parquet)
        00000_stats.json      written last: the shard is whole
        failed.parquet        every URL that gave no image: reason, detail, attempts, original columns

Names are img2dataset's, so that what reads its output reads this. Streaming: one shard's metadata and one image (or
row group) in memory, and on disk the passes' tars go as soon as all of their images are in a finished shard.
"""

from __future__ import annotations

import base64
import hashlib
import heapq
import io
import json
import os
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recaption.errors import DatasetError, ShardError
from recaption.source.download.passes import Outcome, Pass
from recaption.source.download.verify import Header, header

_GROUP: Final = 128  # images in a row group of format parquet
_STORED: Final = [
    ("key", pa.string()), ("status", pa.string()), ("error_message", pa.string()),
    ("width", pa.int32()), ("height", pa.int32()), ("original_width", pa.int32()), ("original_height", pa.int32()),
    ("sha256", pa.string()),
]  # fmt: skip
_FAILED: Final = [("status", pa.string()), ("error_message", pa.string()), ("attempts", pa.int32())]
IMAGE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def final(passes: Sequence[Pass]) -> Iterator[tuple[Outcome, int]]:
    """(last outcome, attempts) of each row, in order of rows."""
    merged = heapq.merge(*(one.outcomes() for one in passes), key=itemgetter(0, 1))
    for _, outcomes in groupby(merged, key=itemgetter(0)):
        tries = list(outcomes)
        yield tries[-1], len(tries)


class Originals:
    """The normalised list, read by ascending rows: one row group in memory."""

    def __init__(self, path: Path) -> None:
        self._file = pq.ParquetFile(path)
        self.schema: pa.Schema = self._file.schema_arrow
        self._group, self._first, self._table = -1, 0, self.schema.empty_table()

    def take(self, rows: list[int]) -> pa.Table:
        """The columns of these rows (ascending, not before those of the last call), without `row`."""
        parts, at = [], 0
        while at < len(rows):
            while rows[at] >= self._first + self._table.num_rows:
                self._first += self._table.num_rows
                self._group += 1
                self._table = self._file.read_row_group(self._group, use_threads=False)
            end = self._first + self._table.num_rows
            inside = [row - self._first for row in rows[at:] if row < end]
            parts.append(self._table.take(inside))
            at += len(inside)
        table = pa.concat_tables(parts) if parts else self.schema.empty_table()
        return table.drop_columns(["row"])


class Tars:
    """Images out of the passes' tars. Open and indexed are the last few: rows ascend, and so do the shards."""

    def __init__(self, passes: Sequence[Pass]) -> None:
        self._passes = {one.out: one for one in passes}
        self._open: dict[Path, tuple[io.BufferedReader, dict[str, tuple[int, int]]]] = {}

    def read(self, outcome: Outcome) -> bytes:
        """The bytes as img2dataset stored them. Raises ShardError if they are not there."""
        path, key = outcome.tar, outcome.key
        assert path is not None and key is not None
        try:
            if path not in self._open:
                for old in [other for other in self._open if other.parent == path.parent]:
                    self._open.pop(old)[0].close()
                self._open[path] = _index(path)
            file, members = self._open[path]
            offset, size = members[key]
            file.seek(offset)
            return file.read(size)
        except (OSError, tarfile.TarError, KeyError) as error:
            raise self._passes[path.parent].broken(path, error) from error

    def broken(self, outcome: Outcome, why: str) -> ShardError:
        assert outcome.tar is not None
        return self._passes[outcome.tar.parent].broken(outcome.tar, ValueError(why))

    def close(self) -> None:
        for file, _ in self._open.values():
            file.close()


def _index(path: Path) -> tuple[io.BufferedReader, dict[str, tuple[int, int]]]:
    with tarfile.open(path, "r:") as tar:
        members = {
            member.name.removesuffix(".jpg"): (member.offset_data, member.size)
            for member in tar
            if member.name.endswith(".jpg")  # what img2dataset calls all images, whatever they are
        }
    return open(path, "rb"), members


class Repack:
    """Writes the final shards; continues behind those that are finished."""

    def __init__(self, out: Path, passes: Sequence[Pass], listed: Path, *, kind: str, size: int, exact: bool) -> None:
        self.out, self.passes, self.listed, self.kind, self.size, self.exact = out, passes, listed, kind, size, exact
        self._digits = len(str(max(size - 1, 1)))

    def shards(self, report: Callable[[str], None]) -> int:
        """Write all shards; returns how many there are."""
        done, last = 0, -1
        while (stats := self.out / f"{done:05d}_stats.json").is_file():
            done, last = done + 1, json.loads(stats.read_text("utf-8"))["last_row"]
        # The tars of what is finished may be gone; their tables are not
        stored = (outcome for outcome, _ in final(self.passes) if outcome.tar and outcome.row > last)
        originals, tars = Originals(self.listed), Tars(self.passes)
        spent = [self._last_rows(one) for one in self.passes]
        try:
            while batch := list(islice(stored, self.size)):
                self._shard(done, batch, originals.take([outcome.row for outcome in batch]), tars)
                done += 1
                report(f"shard {done}: {len(batch):,} images")
                for tar_rows in spent:
                    _drop(tar_rows, batch[-1].row)
        finally:
            tars.close()
        return done

    @staticmethod
    def _last_rows(one: Pass) -> list[tuple[int, Path]]:
        """(last row, tar) of the shards of a pass, last first."""
        return [(rows[-1], one.out / f"{shard:05d}.tar") for shard, rows in one.asked()][::-1]

    def _shard(self, number: int, batch: list[Outcome], table: pa.Table, tars: Tars) -> None:
        name = f"{number:05d}"
        keys = [f"{name}{n:0{self._digits}d}" for n in range(len(batch))]
        if self.kind == "webdataset":
            rows = self._tar(self.out / f"{name}.tar", keys, batch, table, tars)
            _replace(self.out / f"{name}.parquet", lambda path: pq.write_table(_with(table, rows), path))
        else:
            _replace(self.out / f"{name}.parquet", lambda path: self._parquet(path, keys, batch, table, tars))
        stats = {"count": len(batch), "successes": len(batch), "failed_to_download": 0, "failed_to_resize": 0,
                 "status_dict": {"success": len(batch)}, "last_row": batch[-1].row}  # fmt: skip
        write_json(self.out / f"{name}_stats.json", stats)

    def _image(self, key: str, outcome: Outcome, tars: Tars) -> tuple[bytes, Header, dict[str, Any]]:
        data = tars.read(outcome)
        sha256 = hashlib.sha256(data).hexdigest()
        if self.exact and sha256 != outcome.sha256:  # img2dataset hashes what it received, we what it stored
            raise tars.broken(outcome, f"image {outcome.key} has another sha256 than when it was downloaded")
        head = header(data)
        size = {"width": head.width, "height": head.height}
        size |= {f"original_{name}": pixels if self.exact else None for name, pixels in size.items()}  # type: ignore[misc]
        return data, head, {"key": key, "status": "success", "error_message": None, **size, "sha256": sha256}

    def _tar(self, path: Path, keys: list[str], batch: list[Outcome], table: pa.Table, tars: Tars) -> list[dict]:
        import orjson

        rows: list[dict[str, Any]] = []

        def write(temporary: Path) -> None:
            with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
                for key, outcome, columns in zip(keys, batch, table.to_pylist(), strict=True):
                    data, head, row = self._image(key, outcome, tars)
                    rows.append(row)
                    _member(tar, f"{key}.{head.suffix}", data)
                    if "caption" in columns:  # null: an empty file, as img2dataset writes it and loaders need it
                        _member(tar, f"{key}.txt", (columns["caption"] or "").encode())
                    _member(tar, f"{key}.json", orjson.dumps({**columns, **row}, default=_plain))

        _replace(path, write)
        return rows

    def _parquet(self, path: Path, keys: list[str], batch: list[Outcome], table: pa.Table, tars: Tars) -> None:
        schema = pa.schema([pa.field("image", IMAGE), *table.schema, *(pa.field(n, t) for n, t in _STORED)])
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for at in range(0, len(batch), _GROUP):
                some = slice(at, at + _GROUP)
                images, rows = [], []
                for key, outcome in zip(keys[some], batch[some], strict=True):
                    data, head, row = self._image(key, outcome, tars)
                    images.append({"bytes": data, "path": f"{key}.{head.suffix}"})
                    rows.append(row)
                part = _with(table.slice(at, _GROUP), rows).add_column(0, schema.field(0), pa.array(images, IMAGE))
                writer.write_table(part, row_group_size=_GROUP)

    def failed(self) -> tuple[Counter[str], int, int]:
        """Write failed.parquet. Returns failures by reason, images stored, images that a later pass recovered."""
        counts: Counter[str] = Counter()
        stored = recovered = 0
        originals = Originals(self.listed)
        schema = pa.schema([*(f for f in originals.schema if f.name != "row"), *(pa.field(n, t) for n, t in _FAILED)])

        def write(path: Path) -> None:
            nonlocal stored, recovered
            with pq.ParquetWriter(path, schema, compression="zstd") as writer:
                outcomes = final(self.passes)
                while some := list(islice(outcomes, 5_000)):
                    bad = [(outcome, attempts) for outcome, attempts in some if not outcome.tar]
                    stored += len(some) - len(bad)
                    recovered += sum(1 for outcome, _ in some if outcome.tar and outcome.number > 0)
                    counts.update(outcome.reason for outcome, _ in bad)
                    table = originals.take([outcome.row for outcome, _ in bad])
                    added = [{"status": o.reason, "error_message": o.detail, "attempts": a} for o, a in bad]
                    if bad:
                        writer.write_table(_with(table, added, _FAILED))

        _replace(self.out / "failed.parquet", write)
        written = sum(json.loads(path.read_text("utf-8"))["count"] for path in self.out.glob("*_stats.json"))
        if written != stored:  # only when a pass lost a tar that had been written out in part
            raise DatasetError(f"{self.out}: {written} images are in its shards, {stored} were downloaded; start anew")
        return counts, stored, recovered


def _with(table: pa.Table, rows: list[dict[str, Any]], fields: list[tuple[str, pa.DataType]] = _STORED) -> pa.Table:
    for name, kind in fields:
        table = table.append_column(pa.field(name, kind), pa.array([row[name] for row in rows], kind))
    return table


def _drop(tars: list[tuple[int, Path]], row: int) -> None:
    while tars and tars[-1][0] <= row:
        tars.pop()[1].unlink(missing_ok=True)


def _member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # no time, owner or host in it: the same images give the same bytes
    info.size, info.mode = len(data), 0o644
    tar.addfile(info, io.BytesIO(data))


def _plain(value: Any) -> Any:
    """What JSON has no form for: bytes as base64, the rest (decimals, durations) as text."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file and put it in place, whole and synced."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    _replace(path, lambda temporary: temporary.write_text(json.dumps(value, indent=2), "utf-8"))


def remove(work: Path) -> None:
    shutil.rmtree(work, ignore_errors=True)
