"""Thumbnails of images, from wherever an output has their bytes: its own data, or the source's files on this disk."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import tarfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from recaption.decode import decode
from recaption.errors import ImageError
from recaption.inspect.layout import Layout
from recaption.inspect.remote import AnyPath
from recaption.types import ImageLimits

if TYPE_CHECKING:
    import duckdb

SIDE = 192  # pixels of a thumbnail's longer side
_LIMITS = ImageLimits(max_pixels=100_000_000)  # 300 MB when decoded
_MOST_BYTES = 256 << 20  # of an image, or of a sample in a tar
_SUFFIXES = ("jpg", "png", "webp")  # of the image in a tar that recaption wrote
_PLACE = ["key", "sha256", "path", "offset", "size", "file_row"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """An image to show. `place` is its position among the usable images of its shard and split; None: not usable."""

    key: str
    shard: str | None
    split: str
    sha256: str
    place: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A thumbnail as a data URL with its size in pixels, or why there is none."""

    url: str | None = None
    width: int = SIDE
    height: int = SIDE
    missing: str = ""


class _NotThere(Exception):
    """Why an image cannot be shown, in a few words."""


def thumbnails(
    layout: Layout, form: str | None, wanted: Sequence[Wanted], connection: duckdb.DuckDBPyConnection
) -> dict[str, Picture]:
    """A picture for every key. `form` is the build's format, None for a run without a build. Raises nothing."""
    made: dict[str, Picture] = {}
    own = [image for image in wanted if image.place is not None and form in ("webdataset", "parquet")]
    if form == "webdataset":
        for image in own:
            made[image.key] = _made(lambda image=image: _from_tar(layout, image))  # type: ignore[misc]
    elif own:
        made |= _from_parquet(layout, own, connection)
    rest = [image for image in wanted if image.key not in made]
    places = _places(layout, rest)
    for image in rest:
        made[image.key] = _made(lambda image=image: _from_source(layout, image, places.get(image.key)))  # type: ignore[misc]
    return made


def thumbnail(data: bytes) -> Picture:
    """At most 192 pixels a side, as WebP without any metadata. Raises ImageError for what is no image that is taken."""
    image = decode(data, _LIMITS, max_pixels=(2 * SIDE) ** 2)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    image.save(sink, "WEBP", quality=72, method=4)
    url = f"data:image/webp;base64,{base64.b64encode(sink.getvalue()).decode()}"
    return Picture(url=url, width=image.width, height=image.height)


def _made(fetch: Callable[[], bytes]) -> Picture:
    try:
        return thumbnail(fetch())
    except _NotThere as why:
        return Picture(missing=str(why))
    except ImageError as error:
        return Picture(missing=f"the image cannot be shown: {error.args[0]}")
    except OSError as error:
        return Picture(missing=f"the image cannot be read: {error.strerror or type(error).__name__}")


def _from_tar(layout: Layout, image: Wanted) -> bytes:
    """By the `.tar.idx` beside the tar: little-endian uint64 offsets of the samples (schemas/README.md)."""
    assert layout.build is not None and image.place is not None
    tar = layout.build / "data" / ("val" if image.split == "val" else "") / f"{image.shard}.tar"
    try:
        start, end = struct.unpack("<QQ", _range(tar.parent / f"{tar.name}.idx", 8 * image.place, 16))
        sample = _range(tar, start, end - start)
    except (FileNotFoundError, struct.error):
        raise _NotThere(f"{tar.name} is not with this copy of the build") from None
    try:
        with tarfile.open(fileobj=io.BytesIO(sample), mode="r:") as opened:
            for member in opened:
                name, _, suffix = member.name.rpartition(".")
                if name == image.key and suffix in _SUFFIXES and (file := opened.extractfile(member)):
                    return file.read()
    except tarfile.TarError:
        pass
    raise _NotThere(f"{tar.name} has another sample at its place")


def _from_parquet(
    layout: Layout, images: Sequence[Wanted], connection: duckdb.DuckDBPyConnection
) -> dict[str, Picture]:
    """All of a file's at once; DuckDB reads the bytes of those row groups only that have one of the keys."""
    import duckdb

    assert layout.build is not None
    made: dict[str, Picture] = {}
    by_file: dict[AnyPath, list[Wanted]] = defaultdict(list)
    for image in images:
        folder = layout.build / "data" / ("val" if image.split == "val" else "")
        by_file[folder / f"{image.shard}.parquet"].append(image)
    for file, asked in by_file.items():
        why = "the row has no image"
        found: dict[str, bytes] = {}
        try:
            rows = connection.execute(
                f"SELECT key, image.bytes FROM read_parquet(?) WHERE key IN ({', '.join('?' for _ in asked)})",
                [str(file), *(image.key for image in asked)],
            )
            found = {key: data for key, data in rows.fetchall() if data}
        except duckdb.Error:
            why = f"{file.name} cannot be read" if file.is_file() else f"{file.name} is not with this copy of the build"
        for image in asked:
            data = found.get(image.key)
            made[image.key] = Picture(missing=why) if data is None else _made(lambda data=data: data)  # type: ignore[misc]
    return made


def _places(layout: Layout, images: Sequence[Wanted]) -> dict[str, dict[str, Any]]:
    """Where the source had them: rows of the index, by key."""
    keys = [image.key for image in images]
    if layout.out is None or not keys:
        return {}
    files: Iterable[AnyPath] = layout.of_run("index")
    if all(image.shard is not None for image in images):
        files = [layout.out / "index" / f"{shard}.parquet" for shard in sorted({str(i.shard) for i in images})]
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        try:
            with file.open("rb") as opened:
                rows = pq.read_table(opened, columns=_PLACE, filters=[("key", "in", keys)])
        except (pa.ArrowException, OSError):  # shards were cut anew, or the index is not with this copy
            continue
        found |= {row["key"]: row for row in rows.to_pylist()}
    return found


def _from_source(layout: Layout, image: Wanted, place: Mapping[str, Any] | None) -> bytes:
    if place is None or place["sha256"] != image.sha256:
        raise _NotThere("the image is not in the dataset" if image.place is None else "the index has no such image")
    if place["file_row"] is not None:
        raise _NotThere("the image is in a Parquet file of the source")
    if "://" in str(place["path"]):
        raise _NotThere("the source is not on this machine")
    path = next((p for p in _candidates(layout, str(place["path"])) if p.is_file()), None)
    if path is None:
        raise _NotThere(f"{Path(place['path']).name} of the source is not there")
    data = _range(path, place["offset"], place["size"])
    if hashlib.sha256(data).hexdigest() != image.sha256:
        raise _NotThere("the source has changed: it has another image there")
    return data


def _candidates(layout: Layout, path: str) -> Iterator[Path]:
    """Relative paths are seen from where the run was started: this folder, or one that the output lies in."""
    yield Path(path)
    if isinstance(layout.out, Path) and not path.startswith("/"):
        yield from (folder / path for folder in layout.out.parents)


def _range(path: AnyPath, offset: int, size: int) -> bytes:
    if not 0 <= size <= _MOST_BYTES or offset < 0:
        raise _NotThere(f"{path.name} says that it has {size:,} bytes")
    with path.open("rb") as file:
        file.seek(offset)
        return bytes(file.read(size))
