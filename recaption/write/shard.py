"""Writes one shard of a build: its data files, its flat tables, and its entry for the manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol

import orjson
import pyarrow as pa

from recaption.errors import ConfigError, DatasetError, ImageError
from recaption.io.outfile import Sink
from recaption.io.store import Store
from recaption.output.paths import EMBEDDINGS, ENTRIES, data_file, embeddings_file, entry_file, tokens_file
from recaption.scrub import Scrubber
from recaption.types import CaptionFailure, Image, Record, Reject
from recaption.write.columns import Columns
from recaption.write.embeddings import write_embeddings
from recaption.write.entry import FileEntry, GenerationCounts, ShardEntry, tally
from recaption.write.parquet import parquet_writer
from recaption.write.profile import FlairProfile
from recaption.write.tables import write_flat, write_sidecar
from recaption.write.tokens import Encoder, write_tokens
from recaption.write.transcode import ImageMode, Stored, store_image
from recaption.write.webdataset import tar_writer

Format = Literal["sidecar", "webdataset", "parquet"]
Images = Callable[[], Iterable[tuple[Image, bytes | ImageError]]]
"""Returns the images of the shard in source order, each with its bytes or its read error. Images of rejected samples
may be left out."""
Placed = Mapping[str | None, Sequence[int]]
"""Positions of the records in the data file of each split, in the file's order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardContent:
    """The inputs of one written shard: annotated records in source order, their images, and further results.

    `rejects` and `asked` are those of `assemble_shard`; `custom_tables` holds rows by table name, `embeddings` those of
    each generation by key and id (float16, little-endian), `failures` the captions on which annotation failed; `inputs`
    is the identity of the shard's inputs.
    """

    name: str
    records: Sequence[Record]
    images: Images
    rejects: Sequence[Reject] = ()
    asked: Mapping[str, GenerationCounts] = field(default_factory=dict)
    inputs: str = ""
    custom_tables: Mapping[str, pa.Table] = field(default_factory=dict)
    embeddings: Mapping[str, Mapping[str, Mapping[str, bytes]]] = field(default_factory=dict)
    failures: Sequence[CaptionFailure] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardFormat:
    """How every shard of a build is written.

    `profile` replaces the flat strings of webdataset samples by FLAIR's lists; `token_ids` adds a file of token ids per
    encoder and data file. With `holdout` a val file is always written, if necessary without samples, so that patterns
    such as `data/val/{00000..00575}.tar` have no gaps.
    """

    format: Format
    image_mode: ImageMode = "jpeg"
    tokenizers: Sequence[str] = ()
    primary: Sequence[str] = ()
    profile: FlairProfile | None = None
    token_ids: Sequence[Encoder] = ()
    holdout: bool = False


class _Writer(Protocol):
    def add(self, record: Record, image: Stored) -> None: ...


def write_shard(store: Store, prefix: str, content: ShardContent, shape: ShardFormat) -> ShardEntry:
    """Write `<prefix>/data/<shard>.*` and the flat tables of a shard.

    Images are read only for formats that hold them; memory holds the records and one sample (webdataset) or row group
    (parquet). An image that changed since it was listed, or that cannot be transcoded, becomes a rejected
    record.
    The entry is put last, as `<prefix>/.shards/<shard>.json`: `written_shard` finds it when the build is run again.
    Raises ConfigError for an unknown format, DatasetError if the image of a usable record is missing.
    """
    shard, records = content.name, list(content.records)
    _check(records, shard)
    late: list[Reject] = []
    columns = Columns(records, shape.tokenizers)
    if shape.format == "sidecar":
        path = data_file(shard, "parquet")
        sink = write_sidecar(store, f"{prefix}/{path}", columns)
        files = [_file(path, "data", None, len(records), sink)]
        placed: Placed = {None: range(len(records))}
    elif shape.format in ("webdataset", "parquet"):
        late, files, placed = _write_pixels(store, prefix, records, columns, content, shape)
        if late:  # their captions are gone
            columns = Columns(records, shape.tokenizers)
    else:
        raise ConfigError(f"output.format is {shape.format!r}; allowed: sidecar, webdataset and parquet")
    rejects = sorted([*content.rejects, *late], key=lambda reject: reject.row)
    flat = write_flat(store, prefix, shard, columns, rejects, content.custom_tables)
    files += [_file(path, table, None, rows, sink) for table, (path, sink, rows) in flat.items()]
    for generation, by_key in content.embeddings.items():
        kept = {id: v for record in records if record.captions for id, v in by_key.get(record.key, {}).items()}
        path = embeddings_file(generation, shard)
        files.append(_file(path, EMBEDDINGS, None, len(kept), write_embeddings(store, f"{prefix}/{path}", kept)))
    failed = list(content.failures)
    composable = dict.fromkeys([encoder.facts.name for encoder in shape.token_ids], True)
    for data in [file for file in files if file.table == "data" and shape.token_ids]:
        samples = [records[at] for at in placed[data.split]]
        for encoder in shape.token_ids:
            path = tokens_file(data.path, encoder.facts.name)
            tokens = write_tokens(store, f"{prefix}/{path}", samples, encoder)
            files.append(_file(path, "tokens", data.split, len(samples), tokens.sink))
            composable[encoder.facts.name] &= tokens.composable
            failed += tokens.failures
    entry = replace(tally(shard, columns, files, content.asked, failed), composable=composable, inputs=content.inputs)
    named = {"failures": [asdict(failure) for failure in entry.failures]}
    store.put(_entry_path(prefix, shard), orjson.dumps({**entry.to_json(), **named}))
    return entry


def written_shard(store: Store, prefix: str, shard: str) -> ShardEntry | None:
    """The entry of a shard that an interrupted run of the same build finished; None if there is none."""
    try:
        return ShardEntry.from_json(orjson.loads(store.get(_entry_path(prefix, shard))))
    except FileNotFoundError:
        return None


def sweep(store: Store, prefix: str, entries: Sequence[ShardEntry]) -> None:
    """Remove the files of an unpublished build that no entry lists.

    An interrupted run may have cut the shards differently. Readers find files by patterns such as `data/*.tar`, so an
    additional file would duplicate samples.
    """
    known = {f"{prefix}/{file.path}" for entry in entries for file in entry.files}
    folders = [f"{prefix}/{name}" for name in store.folders(prefix) if not name.startswith(".")]
    while folders:
        folder = folders.pop()
        folders += [f"{folder}/{name}" for name in store.folders(folder)]
        store.delete_many([path for path in store.list(folder) if path not in known])


def forget_shards(store: Store, prefix: str) -> int:
    """Remove the entries of finished shards, and leftovers of killed runs. Returns the number of bytes."""
    return store.remove(f"{prefix}/{ENTRIES}")


def _entry_path(prefix: str, shard: str) -> str:
    return f"{prefix}/{entry_file(shard)}"


def _check(records: Sequence[Record], shard: str) -> None:
    """Raises DatasetError for duplicate keys and for captions of unusable images, which would be bugs."""
    seen: set[str] = set()
    for record in records:
        if record.key in seen:
            raise DatasetError("duplicate key", key=record.key, shard=shard)
        seen.add(record.key)
        usable = record.status in ("ok", "partial")
        if bool(record.captions) != usable:
            detail = f"the status is {record.status}, with {len(record.captions)} captions"
            raise DatasetError(detail, key=record.key, shard=shard)


def _write_pixels(
    store: Store, prefix: str, records: list[Record], columns: Columns, content: ShardContent, shape: ShardFormat
) -> tuple[list[Reject], list[FileEntry], Placed]:
    """Train samples go to `data/<shard>`, val samples to `data/val/<shard>`.

    Records whose image is rejected, or whose size is now known, are replaced in place. `columns` has their captions.
    Returns the rejects, the files, and the positions of the records in them.
    """
    shard = content.name
    tars = shape.format == "webdataset"
    suffix = "tar" if tars else "parquet"
    paths = {split: data_file(shard, suffix, split) for split in ("train", "val")}
    writers: dict[str, _Writer] = {}
    sinks: dict[str, dict[str, Sink]] = {}
    placed: dict[str | None, list[int]] = {"train": [], "val": []}
    late: list[Reject] = []

    with ExitStack() as stack:

        def writer(split: str) -> _Writer:
            if split not in writers:
                path = f"{prefix}/{paths[split]}"
                opened: AbstractContextManager[Any] = (
                    tar_writer(store, path, tokenizers=shape.tokenizers, primary=shape.primary, profile=shape.profile)
                    if tars
                    else parquet_writer(store, path, columns)
                )
                writers[split], sinks[split] = stack.enter_context(opened)
            return writers[split]

        for split in ("train", "val") if shape.holdout else ("train",):
            writer(split)
        for at, image, data in _usable(records, content.images, shard):
            record = records[at]
            try:
                if isinstance(data, ImageError):
                    raise data
                stored = store_image(
                    data, record.sha256, shape.image_mode, key=record.key, shard=shard, orientation=record.orientation
                )
            except ImageError as error:
                records[at] = replace(record, status="reject", reason=error.reason, captions=())
                late.append(_reject(image, record, error))
                continue
            if stored.width is not None and (stored.width, stored.height) != (record.width, record.height):
                records[at] = record = replace(record, width=stored.width, height=stored.height)
            writer(record.split).add(record, stored)
            placed[record.split].append(at)

    files = []
    for split, by_path in sinks.items():
        for path, sink in by_path.items():
            table = "tar_index" if path.endswith(".idx") else "data"
            files.append(_file(path.removeprefix(f"{prefix}/"), table, split, len(placed[split]), sink))
    return late, files, placed


def _usable(records: Sequence[Record], images: Images, shard: str) -> Iterator[tuple[int, Image, bytes | ImageError]]:
    """Positions of usable records with their images, both in source order; `images` may have gaps and extras."""
    waiting = {record.key: at for at, record in enumerate(records) if record.status in ("ok", "partial")}
    for image, data in images() if waiting else ():
        at = waiting.pop(image.key, None)
        if at is not None:
            yield at, image, data
        if not waiting:
            return
    if waiting:
        key = next(iter(waiting))
        raise DatasetError(f"the source has no image for {len(waiting)} usable records", key=key, shard=shard)


def _reject(image: Image, record: Record, error: ImageError) -> Reject:
    made = Reject.of(image, stage="build", generation=None, reason=error.reason, detail=error.args[0])
    made = replace(made, source_key=record.source_key, detail=Scrubber({}).text(made.detail))
    return replace(made, shard=record.shard, row=record.row)  # which differ in a repacked build


def _file(path: str, table: str, split: str | None, rows: int, sink: Sink) -> FileEntry:
    return FileEntry(path=path, table=table, split=split, rows=rows, bytes=sink.size, sha256=sink.sha256())
