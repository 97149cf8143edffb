"""Plain iteration over a dataset: each sample once, in the order of the files. For conversions and statistics."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from recaption.errors import DatasetError, UserError
from recaption.load.cache import MOST_BYTES, Cache
from recaption.load.files import Files
from recaption.load.layout import Layout, Verify, find, find_all
from recaption.load.shards import Indexed, Sample, Shards, Tars


def records(
    path: str | Path | Sequence[str],
    *,
    split: Literal["all", "train", "val"] = "all",
    tags: bool = True,
    source: str | Path | None = None,
    cache: str | Path | None = None,
    verify: Verify = "size",
) -> Iterator[Sample]:
    """The usable samples of a dataset: `record` (`recaption.types.Record`) and `image`, its stored bytes.

    `path`, `source`, `cache` and `verify` are those of `CaptionDataset` and `LoaderConfig`. Split "all" returns the
    train samples first. In a sidecar, `image` has the bytes of the source; `orientation` is not None if they have to be
    turned to be upright (`recaption.decode.upright`). Needs no torch.

    Raises UserError if there is nothing to load, and DatasetError (with shard and key) for invalid data.
    """
    if split not in ("all", "train", "val"):
        raise UserError(f"split is {split!r}; it can be all, train or val")
    files = Files(Cache(cache, most_bytes=MOST_BYTES) if cache else None)
    where = str(path) if isinstance(path, Path) else path
    layouts = (
        find_all(where, files, verify=verify) if split == "all" else {split: find(where, split, files, verify=verify)}
    )
    for name, layout in layouts.items():
        files.expect(layout.expected)
        per_piece = sys.maxsize if by_requests(layout, files, source) else None
        shards = open_shards(layout, files, split=name, tags=tags, source=source, per_piece=per_piece)
        for file, (data, count) in enumerate(zip(layout.files, shards.counts, strict=True)):
            for row in range(count):
                try:
                    yield shards.read(file, row)
                except OSError as error:
                    raise DatasetError(f"cannot read sample {row}: {error}", shard=data.shard) from error


def by_requests(layout: Layout, files: Files, source: str | Path | None) -> bool:
    """Whether each sample is read by a request to a store. The images of a sidecar on a disk may be in a store."""
    if files.by_requests(layout.files[0].path):
        return True
    if layout.format != "sidecar":
        return False
    from recaption.load.parquet import first_image

    path = first_image(layout, files) if source is None else str(source)
    return path is not None and files.by_requests(path)


def open_shards(
    layout: Layout, files: Files, *, split: str, tags: bool, source: str | Path | None, per_piece: int | None = None
) -> Shards:
    """Access to the samples of a layout. `split`, `tags` and `source`: see `LoaderConfig`. `per_piece`: read images of
    tars in pieces, of this many samples at most; None: one at a time."""
    if layout.format == "webdataset":
        return Indexed(layout, files, tags=tags, per_piece=per_piece)
    if layout.format == "tars":
        return Tars(layout, files, tags=tags, per_piece=per_piece)
    from recaption.load.parquet import Embedded, Sidecar

    if layout.format == "parquet":
        return Embedded(layout, files, tags=tags)
    folder = None if source is None else str(source)
    return Sidecar(layout, files, split=split, tags=tags, source=folder, per_piece=per_piece)
