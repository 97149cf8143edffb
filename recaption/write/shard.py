"""Writes one shard of a build: its data in the chosen format, its flat tables, and its entry for the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, replace
from typing import Any, Literal, Protocol

import orjson
import pyarrow as pa

from recaption.errors import ConfigError, DatasetError, ImageError
from recaption.io.outfile import Sink
from recaption.io.store import Store
from recaption.scrub import Scrubber
from recaption.tokenids import tokens_path
from recaption.types import CaptionFailure, Image, Record, Reject
from recaption.write.columns import Columns
from recaption.write.entry import Asked, FileEntry, ShardEntry, tally
from recaption.write.flat import write_flat
from recaption.write.parquet import parquet_writer
from recaption.write.pixels import ImageMode, Stored, store_image
from recaption.write.profile import FlairProfile
from recaption.write.sidecar import write_sidecar
from recaption.write.tokens import Encoder, write_tokens
from recaption.write.webdataset import tar_writer

Format = Literal["sidecar", "webdataset", "parquet"]
Images = Callable[[], Iterable[tuple[Image, bytes | ImageError]]]
"""Gives the images of the shard with their bytes, in source order, or with the error of one that cannot be read (any
more); those of rejected samples may be left out."""
Placed = Mapping[str | None, Sequence[int]]
"""Positions of the records in the data file of each split, in the file's order."""


class _Writer(Protocol):
    def add(self, record: Record, image: Stored) -> None: ...


def write_shard(
    store: Store,
    prefix: str,
    shard: str,
    records: Sequence[Record],
    images: Images,
    *,
    format: Format,
    tokenizers: Sequence[str] = (),
    primary: Sequence[str] = (),
    image_mode: ImageMode = "jpeg",
    rejects: Sequence[Reject] = (),
    asked: Mapping[str, Asked] | None = None,
    inputs: str = "",
    own: Mapping[str, pa.Table] | None = None,
    failures: Sequence[CaptionFailure] = (),
    profile: FlairProfile | None = None,
    token_ids: Sequence[Encoder] = (),
    holdout: bool = False,
) -> ShardEntry:
    """Write `<prefix>/data/<shard>.*` and the flat tables of `records`, which are annotated and in source order.

    `rejects` and `asked` are those of `assemble_shard`; `own` are tables of the pipeline's own, `failures` the
    captions on which annotation failed; `profile` says what stands in a webdataset sample in place of the flat strings;
    the ids that `token_ids` make of the texts lie in files of their own, as the data do. With `holdout` a val shard is
    always written, if with no samples: patterns such as `data/val/{00000..00575}.tar` then have no gaps. Bytes are read
    (`images` is called) only for formats that hold them; memory holds the records and one sample (webdataset) or row
    group (parquet). An image whose bytes are no longer those that were asked about, or cannot be transcoded, becomes a
    rejected record, never a wrong sample.
    The entry is put last, as `<prefix>/.shards/<shard>.json`: `written_shard` finds it when the build is run again.
    Raises ConfigError for an unknown format, DatasetError when `images` does not give a usable record's image.
    """
    made = list(records)
    _check(made, shard)
    if format == "sidecar":
        columns = Columns(made, tokenizers)
        path = f"data/{shard}.parquet"
        sink = write_sidecar(store, f"{prefix}/{path}", columns)
        files = [_file(path, "data", None, len(made), sink)]
        placed: Placed = {None: range(len(made))}
        late: list[Reject] = []
    elif format in ("webdataset", "parquet"):
        options: dict[str, Any] = {"tokenizers": tokenizers}
        splits = ("train", "val") if holdout else ("train",)
        if format == "webdataset":
            options |= {"primary": primary, "profile": profile}
        made, late, files, placed = _write_pixels(
            store, prefix, shard, made, images, format, image_mode, options, splits
        )
        columns = Columns(made, tokenizers)
    else:
        raise ConfigError(f"output.format is {format!r}; it can be sidecar, webdataset or parquet")
    flat = write_flat(
        store, prefix, shard, columns, sorted([*rejects, *late], key=lambda reject: reject.row), own or {}
    )
    files += [_file(path, table, None, rows, sink) for table, (path, sink, rows) in flat.items()]
    failed = list(failures)
    composable = dict.fromkeys([encoder.facts.name for encoder in token_ids], True)
    for data in [file for file in files if file.table == "data" and token_ids]:
        samples = [made[at] for at in placed[data.split]]
        for encoder in token_ids:
            path = tokens_path(data.path, encoder.facts.name)
            tokens = write_tokens(store, f"{prefix}/{path}", samples, encoder)
            files.append(_file(path, "tokens", data.split, len(samples), tokens.sink))
            composable[encoder.facts.name] &= tokens.composable
            failed += tokens.failures
    entry = replace(tally(shard, columns, files, asked or {}, failed), composable=composable, inputs=inputs)
    named = {"failures": [asdict(failure) for failure in entry.failures]}
    store.put(_entry_path(prefix, shard), orjson.dumps({**entry.to_json(), **named}))
    return entry


def written_shard(store: Store, prefix: str, shard: str) -> ShardEntry | None:
    """The entry of a shard that an earlier, interrupted run of the same build has finished."""
    try:
        return ShardEntry.from_json(orjson.loads(store.get(_entry_path(prefix, shard))))
    except FileNotFoundError:
        return None


def sweep(store: Store, prefix: str, entries: Sequence[ShardEntry]) -> None:
    """Remove what lies in the folders of a build that is not published yet and that no entry names.

    An interrupted run may have cut the shards differently. Readers find them by patterns such as `data/*.tar`, so a
    file too many is a sample that is there twice.
    """
    known = {f"{prefix}/{file.path}" for entry in entries for file in entry.files}
    folders = [f"{prefix}/{name}" for name in store.folders(prefix) if not name.startswith(".")]
    while folders:
        folder = folders.pop()
        folders += [f"{folder}/{name}" for name in store.folders(folder)]
        for path in list(store.list(folder)):
            if path not in known:
                store.delete(path)


def forget_shards(store: Store, prefix: str) -> int:
    """Remove the entries of finished shards, and what a killed run left beside them. Returns how many bytes."""
    return store.remove(f"{prefix}/.shards")


def _entry_path(prefix: str, shard: str) -> str:
    return f"{prefix}/.shards/{shard}.json"


def _check(records: Sequence[Record], shard: str) -> None:
    """Our own bugs, caught before they are on disk: keys twice, texts of images that may not be used."""
    seen: set[str] = set()
    for record in records:
        if record.key in seen:
            raise DatasetError("the key is there twice", key=record.key, shard=shard)
        seen.add(record.key)
        usable = record.status in ("ok", "partial")
        if bool(record.captions) != usable:
            raise DatasetError(f"{record.status}, with {len(record.captions)} captions", key=record.key, shard=shard)


def _write_pixels(
    store: Store,
    prefix: str,
    shard: str,
    records: list[Record],
    images: Images,
    format: str,
    image_mode: ImageMode,
    options: Mapping[str, Any],
    splits: Sequence[str],
) -> tuple[list[Record], list[Reject], list[FileEntry], Placed]:
    """Train samples go to `data/<shard>`, val ones to `data/val/<shard>`, of which those of `splits` are always there.

    Returns the records as they became, rejects among them, the files, and which records lie in them.
    """
    suffix = "tar" if format == "webdataset" else "parquet"
    paths = {"train": f"data/{shard}.{suffix}", "val": f"data/val/{shard}.{suffix}"}
    writers: dict[str, _Writer] = {}
    sinks: dict[str, dict[str, Sink]] = {}
    placed: dict[str | None, list[int]] = {"train": [], "val": []}
    late: list[Reject] = []

    with ExitStack() as stack:

        def writer(split: str) -> _Writer:
            if split not in writers:
                path = f"{prefix}/{paths[split]}"
                opened: AbstractContextManager[Any] = (tar_writer if format == "webdataset" else parquet_writer)(
                    store, path, **options
                )
                writers[split], sinks[split] = stack.enter_context(opened)
            return writers[split]

        for split in splits:  # if with no samples: a pattern like {00000..00575}.tar must have no gaps
            writer(split)
        for at, image, data in _usable(records, images, shard):
            record = records[at]
            try:
                if isinstance(data, ImageError):
                    raise data
                stored = store_image(
                    data, record.sha256, image_mode, key=record.key, shard=shard, orientation=record.orientation
                )
            except ImageError as error:
                records[at] = replace(record, status="reject", reason=error.reason, captions=())
                late.append(_reject(image, record, error))
                continue
            if stored.width is not None:
                records[at] = record = replace(record, width=stored.width, height=stored.height)
            writer(record.split).add(record, stored)
            placed[record.split].append(at)

    files = []
    for split, by_path in sinks.items():
        for path, sink in by_path.items():
            table = "tar_index" if path.endswith(".idx") else "data"
            files.append(_file(path.removeprefix(f"{prefix}/"), table, split, len(placed[split]), sink))
    return records, late, files, placed


def _usable(records: Sequence[Record], images: Images, shard: str) -> Iterator[tuple[int, Image, bytes | ImageError]]:
    """The usable records' positions with their images; both run in source order, `images` may have gaps and extras."""
    waiting = {record.key: at for at, record in enumerate(records) if record.status in ("ok", "partial")}
    for image, data in images() if waiting else ():
        at = waiting.pop(image.key, None)
        if at is not None:
            yield at, image, data
        if not waiting:
            return
    if waiting:
        key = next(iter(waiting))
        raise DatasetError(f"the source gave no image for {len(waiting)} usable records", key=key, shard=shard)


def _reject(image: Image, record: Record, error: ImageError) -> Reject:
    made = Reject.of(image, stage="build", generation=None, reason=error.reason, detail=error.args[0])
    made = replace(made, source_key=record.source_key, detail=Scrubber({}).text(made.detail))
    return replace(made, shard=record.shard, row=record.row)  # a build that is repacked counts in its own shards


def _file(path: str, table: str, split: str | None, rows: int, sink: Sink) -> FileEntry:
    return FileEntry(path=path, table=table, split=split, rows=rows, bytes=sink.size, sha256=sink.sha256())
