"""The index of a source shard as a table (`recaption.schema.INDEX`) and back, and its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import cast

import pyarrow as pa

from recaption.errors import DatasetError
from recaption.schema import INDEX
from recaption.types import REASONS, Image, Locator, Reason

_HEADER = ("format", "width", "height", "orientation")
_SINCE = ("raw_captions", *_HEADER)  # columns that an index of an earlier minor version does not have


def index_to_table(images: Sequence[Image]) -> pa.Table:
    """A row per image. The shard's id is not among the columns: it is the file's name."""
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
    """The images that `index_to_table` was given. Raises DatasetError when the table is not an index."""
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
