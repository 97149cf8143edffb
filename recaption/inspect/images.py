"""Images of an output: their bytes, from the build or from the source's files on this disk, and thumbnails."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from recaption.decode import check_header, decode
from recaption.errors import DatasetError, ImageError, ShardError, SourceError
from recaption.imagefile import STORED_SUFFIXES
from recaption.inspect.paths import OutputPaths
from recaption.inspect.sql import fetch, placeholders
from recaption.inspect.summary import read_manifest
from recaption.io.files import Unreachable, is_file, is_url, open_stream, read_range
from recaption.io.tar import BrokenTarError, TarReader
from recaption.output.paths import INDEX, data_folder, index_file
from recaption.tablefile import read_table
from recaption.types import ImageLimits

if TYPE_CHECKING:
    import duckdb

_MOST_BYTES = 256 << 20  # of an image, or of a sample in a tar
SIDE = 512  # pixels of the longer side of a picture in a page
_LIMITS = ImageLimits(max_pixels=100_000_000)  # 300 MB when decoded
_PLACE = ["key", "sha256", "path", "offset", "size", "file_row"]

PLACE = (
    "CASE WHEN status IN ('ok', 'partial') THEN "
    "count(*) FILTER (status IN ('ok', 'partial')) OVER (PARTITION BY shard, split ORDER BY \"row\") - 1 END AS place"
)
"""SQL: the position of an image among the usable images of its shard and split. Query whole shards."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRequest:
    """An image to read. `place` is computed by `PLACE`; None for an unusable image, or before the first build."""

    key: str
    shard: str | None
    split: str
    sha256: str | None  # None: unknown
    place: int | None


class ImageMissing(Exception):
    """The reason why an image cannot be read."""


def read_image(connection: duckdb.DuckDBPyConnection, output: OutputPaths, key: str) -> bytes | ImageMissing:
    """The image file from the build or from the source, or the reason why it is missing."""
    query = f"SELECT shard, split, sha256, place FROM (SELECT *, {PLACE} FROM images WHERE shard = ?) WHERE key = ?"
    shards = fetch(connection, "SELECT shard FROM images WHERE key = ?", [key])
    found = fetch(connection, query, [shards[0][0], key]) if shards else []
    form = read_manifest(output)["format"] if output.build else None
    shard, split, sha256, place = found[0] if found else (None, "", None, None)
    wanted = ImageRequest(key=key, shard=shard, split=split, sha256=sha256, place=place)
    return dict(read_images(connection, output, form, [wanted]))[key]


def read_images(
    connection: duckdb.DuckDBPyConnection, output: OutputPaths, form: str | None, wanted: Sequence[ImageRequest]
) -> Iterator[tuple[str, bytes | ImageMissing]]:
    """Yields each key with the bytes or the reason why they are missing. `form` is the build's format, or None."""
    in_build = form in ("webdataset", "parquet")
    own = [image for image in wanted if in_build and image.place is not None]
    if form == "webdataset":
        yield from ((image.key, _read_or_reason(lambda image=image: _from_tar(output, image))) for image in own)
    elif own:
        yield from _from_parquet(connection, output, own)
    rest = [image for image in wanted if not in_build or image.place is None]
    places = _places(output, rest)
    for image in rest:
        yield image.key, _read_or_reason(lambda image=image: _from_source(output, image, places.get(image.key)))


def _read_or_reason(fetch: Any) -> bytes | ImageMissing:
    try:
        return bytes(fetch())
    except ImageMissing as why:
        return why
    except (ShardError, DatasetError) as error:
        return ImageMissing(str(error))


def _from_tar(output: OutputPaths, image: ImageRequest) -> bytes:
    """Uses the `.tar.idx` of the tar: little-endian uint64 offsets of the samples (schemas/README.md)."""
    assert image.place is not None
    folder, name = _folder(output, image), f"{image.shard}.tar"
    try:
        start, end = struct.unpack("<QQ", _range(f"{folder}/{name}.idx", 8 * image.place, 16))
        sample = _range(f"{folder}/{name}", start, end - start)
    except (Unreachable, struct.error):
        raise ImageMissing(f"{name} is missing from this copy of the build") from None
    reader = TarReader(io.BytesIO(sample), name, end=len(sample))
    try:
        for member in reader.members():
            key, _, suffix = member.name.rpartition(".")
            if key == image.key and suffix in STORED_SUFFIXES.values() and member.kind == "file":
                return b"".join(reader.pieces(member))
    except (BrokenTarError, SourceError):
        pass
    raise ImageMissing(f"{name} has another sample at this position")


def _from_parquet(
    connection: duckdb.DuckDBPyConnection, output: OutputPaths, images: Sequence[ImageRequest]
) -> Iterator[tuple[str, bytes | ImageMissing]]:
    """One query per file; DuckDB reads only row groups that contain one of the keys."""
    import duckdb

    by_file: dict[str, list[ImageRequest]] = defaultdict(list)
    for image in images:
        by_file[f"{_folder(output, image)}/{image.shard}.parquet"].append(image)
    for file, requested in by_file.items():
        why = "the row has no image"
        found: dict[str, bytes] = {}
        try:
            rows = fetch(
                connection,
                f"SELECT key, image.bytes FROM read_parquet(?) WHERE key IN {placeholders(requested)}",
                [file, *(image.key for image in requested)],
            )
            found = {key: data for key, data in rows if data}
        except duckdb.Error:
            name = file.rpartition("/")[2]
            why = f"{name} cannot be read" if is_file(file) else f"{name} is missing from this copy of the build"
        for image in requested:
            yield image.key, found.get(image.key) or ImageMissing(why)


def _folder(output: OutputPaths, image: ImageRequest) -> str:
    assert output.build is not None
    return f"{output.build.url}/{data_folder('val' if image.split == 'val' else None)}"


def _places(output: OutputPaths, images: Sequence[ImageRequest]) -> dict[str, dict[str, Any]]:
    """The rows of the index by key: the location of each image in the source."""
    keys = [image.key for image in images]
    if output.out is None or not keys:
        return {}
    files = output.of_run(INDEX)
    if all(image.shard is not None for image in images):
        files = [f"{output.out.url}/{index_file(shard)}" for shard in sorted({str(i.shard) for i in images})]
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        try:
            with open_stream(file, sequential=False) as opened:
                table = read_table(opened, _PLACE)
                rows = table.filter(pc.is_in(table["key"], pa.array(keys, pa.string())))
        except (
            pa.ArrowException,
            OSError,
            ShardError,
            DatasetError,
        ):  # shards were split again, or this copy has no index
            continue
        found |= {row["key"]: row for row in rows.to_pylist()}
    return found


def _from_source(output: OutputPaths, image: ImageRequest, place: Mapping[str, Any] | None) -> bytes:
    if place is None or image.sha256 not in (None, place["sha256"]):
        raise ImageMissing("the image is not in the dataset" if image.place is None else "the index has no such image")
    if place["file_row"] is not None:
        raise ImageMissing("the image is in a Parquet file of the source")
    if is_url(str(place["path"])):
        raise ImageMissing("the source is not on this machine")
    path = next((p for p in _candidates(output, str(place["path"])) if p.is_file()), None)
    if path is None:
        raise ImageMissing(f"{Path(place['path']).name} of the source is missing")
    data = _range(str(path), place["offset"], place["size"])
    if hashlib.sha256(data).hexdigest() != place["sha256"]:
        raise ImageMissing("the source has changed: another image is at this location")
    return data


def _candidates(output: OutputPaths, path: str) -> Iterator[Path]:
    """The possible files. A relative path is relative to where the run started: here, or a parent of the output."""
    yield Path(path)
    folder = output.out.local("") if output.out else None
    if folder is not None and not path.startswith("/"):
        yield from (parent / path for parent in folder.parents)


def _range(path: str, offset: int, size: int) -> bytes:
    if not 0 <= size <= _MOST_BYTES or offset < 0:
        raise ImageMissing(f"{path.rpartition('/')[2]} has {size:,} bytes, which is too large")
    return read_range(path, offset, offset + size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnail:
    """A picture of a page: its URL and size in pixels, or why there is none. `large` is the URL of a larger version."""

    url: str | None = None
    width: int = SIDE
    height: int = SIDE
    missing: str = ""
    large: str | None = None


def data_url(webp: bytes) -> str:
    """A URL that contains the picture."""
    return f"data:image/webp;base64,{base64.b64encode(webp).decode()}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pictures:
    """How a page stores pictures: their longer sides in pixels, and `put`, which stores a WebP and returns its URL."""

    side: int = SIDE
    large: int | None = None  # None: no larger version
    put: Callable[[bytes], str] = data_url


IN_THE_PAGE = Pictures()


def thumbnails(
    connection: duckdb.DuckDBPyConnection,
    output: OutputPaths,
    form: str | None,
    wanted: Sequence[ImageRequest],
    pictures: Pictures,
) -> dict[str, Thumbnail]:
    """The thumbnail of each key; a missing or broken image has the reason. For the arguments, see `read_images`."""
    found = read_images(connection, output, form, wanted)
    return {key: _thumbnail_or_reason(data, pictures) for key, data in found}


def webp(data: bytes, side: int) -> tuple[bytes, int, int]:
    """The image with at most `side` pixels per side, upright, as WebP without metadata; its width and height.

    Raises ImageError.
    """
    info = check_header(data, _LIMITS)
    longer = max(info.width, info.height)
    small = min(side, longer)
    pixels = max(1, info.width * small // longer) * max(1, info.height * small // longer)
    image = decode(data, _LIMITS, max_pixels=pixels, orientation=info.orientation)
    sink = io.BytesIO()
    image.save(sink, "WEBP", quality=72, method=2)
    return sink.getvalue(), image.width, image.height


def open_image(data: bytes, *, max_pixels: int) -> Image.Image:
    """The decoded image, upright and reduced to about `max_pixels`. Raises ImageError."""
    orientation = check_header(data, _LIMITS).orientation
    return decode(data, _LIMITS, max_pixels=max_pixels, orientation=orientation)


def _thumbnail_or_reason(found: bytes | ImageMissing, pictures: Pictures) -> Thumbnail:
    if isinstance(found, ImageMissing):
        return Thumbnail(missing=str(found))
    try:
        small, width, height = webp(found, pictures.side)
        large = pictures.put(webp(found, pictures.large)[0]) if pictures.large else None
    except ImageError as error:
        return Thumbnail(missing=f"the image cannot be shown: {error.args[0]}")
    return Thumbnail(url=pictures.put(small), width=width, height=height, large=large)
