"""Turns the index of a source shard into a table (`recaption.schema.INDEX`) and back, and computes its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import cast

import pyarrow as pa

from recaption.errors import DatasetError, SourceError
from recaption.io.store import Store
from recaption.output import paths
from recaption.output.answers import table_bytes
from recaption.output.moved import MovedAnswers
from recaption.output.stored_table import read_stored
from recaption.schema import INDEX
from recaption.source import Source
from recaption.source.base import within_limits
from recaption.types import REASONS, Image, Locator, Reason, SourceShard

_HEADER = ("format", "width", "height", "orientation")
_SIGNATURE = b"recaption.source_signature"
_DIGEST = b"recaption.index_digest"
_SINCE = ("raw_captions", *_HEADER)  # columns that an index of an earlier minor version does not have


def index_to_table(images: Sequence[Image]) -> pa.Table:
    """A row per image. The shard's id is the file's name, not a column."""
    columns = {
        "row": [image.row for image in images],
        "key": [image.key for image in images],
        "source_key": [image.source_key for image in images],
        "sha256": [image.sha256 for image in images],
        "path": [image.locator.path for image in images],
        "member": [image.locator.member for image in images],
        "offset": [image.locator.offset for image in images],
        "size": [image.locator.size for image in images],
        "file_row": [image.locator.row for image in images],
        "url": [image.url for image in images],
        "raw_caption": [image.raw_caption for image in images],
        "raw_captions": [list(image.raw_captions) if len(image.raw_captions) > 1 else None for image in images],
        "columns": [
            json.dumps(dict(image.columns), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            for image in images
        ],
        "reason": [image.reason for image in images],
        "detail": [image.detail for image in images],
        **{name: [getattr(image, name) for image in images] for name in _HEADER},
    }
    return pa.Table.from_pydict(columns, schema=INDEX)


def index_from_table(table: pa.Table, shard: str) -> list[Image]:
    """The images of a table from `index_to_table`. Raises DatasetError if the table is not an index."""
    if missing := [name for name in INDEX.names if name not in (*table.column_names, *_SINCE)]:
        raise DatasetError(f"the index lacks {', '.join(missing)}", shard=shard)
    lists = [
        table.column(name).to_pylist() if name in table.column_names else [None] * table.num_rows
        for name in INDEX.names
    ]
    made = []
    for values in zip(*lists, strict=True):
        row, key, source_key, sha256, path, member, offset, size, file_row, url, caption, captions, *rest = values
        columns, reason, detail, format, width, height, orientation = rest
        if reason is not None and reason not in REASONS:
            raise DatasetError(f"the index has an unknown reason {reason!r}", key=key, shard=shard)
        made.append(
            Image(
                key=key,
                source_key=source_key,
                shard=shard,
                row=row,
                sha256=sha256,
                locator=Locator(path=path, size=size, member=member, offset=offset, row=file_row),
                url=url,
                raw_captions=tuple(captions or ([caption] if caption is not None else ())),
                columns=json.loads(columns),
                reason=cast("Reason | None", reason),
                detail=detail,
                format=format,
                width=width,
                height=height,
                orientation=orientation,
            )
        )
    return made


def index_digest(images: Iterable[Image]) -> str:
    """12 hex digits over row, key and sha256 of all rows: changes when a shard's images or their order do."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image.row}\t{image.key}\t{image.sha256}\n".encode())
    return digest.hexdigest()[:12]


def load_index(
    store: Store, source: Source, shard: SourceShard, *, refresh: bool = False, moved: MovedAnswers | None = None
) -> tuple[list[Image], str]:
    """The shard's images and the digest of its index, from `index/<shard>` or by reading the shard once.

    Headers and ends of files were checked when the shard was read; images outside of `source.limits` have a `reason`
    too.

    The stored index is used while the source file's size and modification time are unchanged. If these are unknown
    (folders), it is used unless `refresh` is set. Answers that `moved` finds for images that are new in the shard are
    put before the index, so a run that is killed in between finds them again.
    """
    path = paths.index_file(shard.id)
    signature = source.signature(shard)
    earlier: pa.Table | None = None
    if (moved is not None or not refresh) and store.exists(path):
        earlier = read_stored(store, path)
        metadata = earlier.schema.metadata or {}
        if not refresh and (signature is None or metadata.get(_SIGNATURE, b"").decode() == signature):
            images = index_from_table(earlier, shard.id)
            return within_limits(images, source.config.limits), metadata[_DIGEST].decode()
    images = source.index(shard)
    if moved is not None and (earlier is not None or moved.unlisted):
        known = frozenset(earlier["sha256"].to_pylist() if earlier is not None else ())
        moved.bring(shard.id, [image for image in images if image.reason is None and image.sha256 not in known])
    digest = index_digest(images)
    metadata = {**(INDEX.metadata or {}), _SIGNATURE: (signature or "").encode(), _DIGEST: digest.encode()}
    store.put(path, table_bytes(index_to_table(images).replace_schema_metadata(metadata)))
    return within_limits(images, source.config.limits), digest


def duplicate_keys(key: str, shard: str, other: str) -> SourceError:
    """The error for a key in two shards."""
    return SourceError(
        f"key {key!r} is in shard {shard} and in shard {other}; keys must be unique in a dataset. "
        "Set source.keys=positional to number them by shard and row; stored answers are kept"
    )
