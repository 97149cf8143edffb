"""A sidecar and the source that it lies beside: row i is sample i, with the same key and the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from recaption.errors import DatasetError, ImageError, ShardError
from recaption.io.files import is_url
from recaption.io.store import Store
from recaption.output.index import index_from_table
from recaption.problems import Problem
from recaption.source.places import is_plain_place
from recaption.source.ranges import read_ranges
from recaption.tablefile import read_table
from recaption.types import Image
from recaption.validate.files import unreadable
from recaption.validate.images import check_image
from recaption.validate.kinds import problem
from recaption.validate.shard import Shard


def check_source(shard: Shard) -> Iterator[Problem]:
    """The index against the rows, then the images' bytes where the source can be read."""
    if shard.manifest["format"] != "sidecar":
        return
    path = f"index/{shard.name}.parquet"
    out = shard.build.out
    if out is None or not out.exists(path):
        yield problem("no source", path, "there is no index here that says where the images lie", warning=True)
        return
    try:
        images = _index(out, path, shard.name)
    except Exception as error:  # noqa: BLE001 - Arrow says in many ways that bytes are no Parquet
        yield unreadable(path, error)
        return
    yield from _check_rows(shard, images)


def _index(out: Store, path: str, shard: str) -> list[Image]:
    table = read_table(pa.BufferReader(out.get(path)))
    table.validate(full=True)
    images = index_from_table(table, shard)
    if any(not isinstance(i.locator.size + i.locator.offset, int) for i in images):
        raise DatasetError(f"{path} says nothing of where the images lie")
    return images


def _check_rows(shard: Shard, images: list[Image]) -> Iterator[Problem]:
    rows = list(shard.columns("images", "row", "key", "sha256"))
    names = shard.path("images")
    wanted = []
    for position, (row, key, sha256) in enumerate(rows):
        image = images[row] if 0 <= row < len(images) else None
        if image is None or row != position or (image.row, image.key, image.sha256) != (row, key, sha256):
            yield problem(
                "source", f"{names}, {key}", f"row {row} is not sample {position} of the source as it is indexed"
            )
            return
        if key in shard.usable and image.reason is None:
            wanted.append(image)
    places = [image.locator for image in wanted if image.locator.member is not None]
    if any(a.path == b.path and a.offset >= b.offset for a, b in pairwise(places)):
        yield problem("source", names, "its rows are not in the order of the source's tar")
    readable = []
    for image in wanted:
        if image.locator.row is not None:
            yield problem(
                "no source", image.locator.path, "only tars and folders are read beside a sidecar", warning=True
            )
            return
        if not is_plain_place(image.locator.path):
            what = "is on a host that the output names: no request is sent there"
            yield problem("no source", image.locator.path, what, warning=True)
            return
        if _ends_before(image):
            yield problem("source", f"{names}, {image.key}", f"{image.locator.path} ends before the image does")
        else:
            readable.append(image)
    try:
        for image, data in read_ranges(readable):
            if isinstance(data, ImageError):
                yield problem("source", f"{names}, {image.key}", str(data.args[0]))
            else:
                yield from check_image(shard, data, f"{names}, {image.key}")
    except ShardError as error:
        yield problem("no source", names, str(error), warning=True)


def _ends_before(image: Image) -> bool:
    """Whether a local file is too short for what the index says, before that much memory is asked for."""
    place = image.locator
    if is_url(place.path) or not Path(place.path).exists():
        return False
    return place.offset < 0 or place.size < 0 or Path(place.path).stat().st_size < place.offset + place.size
