"""The bytes of images, from wherever an output has them: its own data, or the source's files on this disk."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from recaption.errors import DatasetError
from recaption.inspect.layout import Layout
from recaption.inspect.remote import AnyPath
from recaption.inspect.stoppable import fetch
from recaption.inspect.summary import read_manifest
from recaption.tablefile import read_table

if TYPE_CHECKING:
    import duckdb

_MOST_BYTES = 256 << 20  # of an image, or of a sample in a tar
_SUFFIXES = ("jpg", "png", "webp")  # of the image in a tar that recaption wrote
_PLACE = ["key", "sha256", "path", "offset", "size", "file_row"]

PLACE = (
    "CASE WHEN status IN ('ok', 'partial') THEN "
    "count(*) FILTER (status IN ('ok', 'partial')) OVER (PARTITION BY shard, split ORDER BY \"row\") - 1 END AS place"
)
"""SQL: the place of an image among the usable ones of its shard and split, of all the images of these."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """An image to be read. `place` is as `PLACE` says; None: not usable, or there is no build yet."""

    key: str
    shard: str | None
    split: str
    sha256: str | None  # None: not known
    place: int | None


class NotThere(Exception):
    """Why an image cannot be shown, in a few words."""


def read_image(connection: duckdb.DuckDBPyConnection, layout: Layout, key: str) -> bytes | NotThere:
    """The image's file as it lies in the build or in the source."""
    query = f"SELECT shard, split, sha256, place FROM (SELECT *, {PLACE} FROM images WHERE shard = ?) WHERE key = ?"
    shards = fetch(connection, "SELECT shard FROM images WHERE key = ?", [key])
    found = fetch(connection, query, [shards[0][0], key]) if shards else []
    form = read_manifest(layout)["format"] if layout.build else None
    shard, split, sha256, place = found[0] if found else (None, "", None, None)
    wanted = Wanted(key=key, shard=shard, split=split, sha256=sha256, place=place)
    return dict(read_images(connection, layout, form, [wanted]))[key]


def read_images(
    connection: duckdb.DuckDBPyConnection, layout: Layout, form: str | None, wanted: Sequence[Wanted]
) -> Iterator[tuple[str, bytes | NotThere]]:
    """Keys with the bytes of the images, one after another. `form` is the build's format, None without a build."""
    own = [image for image in wanted if image.place is not None and form in ("webdataset", "parquet")]
    if form == "webdataset":
        yield from ((image.key, _tried(lambda image=image: _from_tar(layout, image))) for image in own)
    elif own:
        yield from _from_parquet(connection, layout, own)
    rest = [image for image in wanted if image not in own]
    places = _places(layout, rest)
    for image in rest:
        yield image.key, _tried(lambda image=image: _from_source(layout, image, places.get(image.key)))


def _tried(fetch: Any) -> bytes | NotThere:
    try:
        return bytes(fetch())
    except NotThere as why:
        return why
    except OSError as error:
        return NotThere(f"the image cannot be read: {error.strerror or type(error).__name__}")
    except DatasetError as error:
        return NotThere(str(error))


def _from_tar(layout: Layout, image: Wanted) -> bytes:
    """By the `.tar.idx` beside the tar: little-endian uint64 offsets of the samples (schemas/README.md)."""
    assert image.place is not None
    folder, name = _folder(layout, image), f"{image.shard}.tar"
    try:
        start, end = struct.unpack("<QQ", _range(folder / f"{name}.idx", 8 * image.place, 16))
        sample = _range(folder / name, start, end - start)
    except (FileNotFoundError, struct.error):
        raise NotThere(f"{name} is not with this copy of the build") from None
    try:
        with tarfile.open(fileobj=io.BytesIO(sample), mode="r:") as opened:
            for member in opened:
                key, _, suffix = member.name.rpartition(".")
                if key == image.key and suffix in _SUFFIXES and (file := opened.extractfile(member)):
                    return file.read()
    except tarfile.TarError:
        pass
    raise NotThere(f"{name} has another sample at its place")


def _from_parquet(
    connection: duckdb.DuckDBPyConnection, layout: Layout, images: Sequence[Wanted]
) -> Iterator[tuple[str, bytes | NotThere]]:
    """All of a file's at once; DuckDB reads the bytes of those row groups only that have one of the keys."""
    import duckdb

    by_file: dict[AnyPath, list[Wanted]] = defaultdict(list)
    for image in images:
        by_file[_folder(layout, image) / f"{image.shard}.parquet"].append(image)
    for file, asked in by_file.items():
        why = "the row has no image"
        found: dict[str, bytes] = {}
        try:
            rows = fetch(
                connection,
                f"SELECT key, image.bytes FROM read_parquet(?) WHERE key IN ({', '.join('?' for _ in asked)})",
                [str(file), *(image.key for image in asked)],
            )
            found = {key: data for key, data in rows if data}
        except duckdb.Error:
            why = f"{file.name} cannot be read" if file.is_file() else f"{file.name} is not with this copy of the build"
        for image in asked:
            yield image.key, found.get(image.key) or NotThere(why)


def _folder(layout: Layout, image: Wanted) -> AnyPath:
    assert layout.build is not None
    data = layout.build / "data"
    return data / "val" if image.split == "val" else data


def _places(layout: Layout, images: Sequence[Wanted]) -> dict[str, dict[str, Any]]:
    """Where the source had them: rows of the index, by key."""
    keys = [image.key for image in images]
    if layout.out is None or not keys:
        return {}
    files = layout.of_run("index")
    if all(image.shard is not None for image in images):
        files = [layout.out / "index" / f"{shard}.parquet" for shard in sorted({str(i.shard) for i in images})]
    found: dict[str, dict[str, Any]] = {}
    for file in files:
        try:
            with file.open("rb") as opened:
                table = read_table(opened, _PLACE)
                rows = table.filter(pc.is_in(table["key"], pa.array(keys, pa.string())))
        except (pa.ArrowException, OSError, DatasetError):  # shards were cut anew, or the index is not with this copy
            continue
        found |= {row["key"]: row for row in rows.to_pylist()}
    return found


def _from_source(layout: Layout, image: Wanted, place: Mapping[str, Any] | None) -> bytes:
    if place is None or image.sha256 not in (None, place["sha256"]):
        raise NotThere("the image is not in the dataset" if image.place is None else "the index has no such image")
    if place["file_row"] is not None:
        raise NotThere("the image is in a Parquet file of the source")
    if "://" in str(place["path"]):
        raise NotThere("the source is not on this machine")
    path = next((p for p in _candidates(layout, str(place["path"])) if p.is_file()), None)
    if path is None:
        raise NotThere(f"{Path(place['path']).name} of the source is not there")
    data = _range(path, place["offset"], place["size"])
    if hashlib.sha256(data).hexdigest() != place["sha256"]:
        raise NotThere("the source has changed: it has another image there")
    return data


def _candidates(layout: Layout, path: str) -> Iterator[Path]:
    """Relative paths are seen from where the run was started: this folder, or one that the output lies in."""
    yield Path(path)
    if isinstance(layout.out, Path) and not path.startswith("/"):
        yield from (folder / path for folder in layout.out.parents)


def _range(path: AnyPath, offset: int, size: int) -> bytes:
    if not 0 <= size <= _MOST_BYTES or offset < 0:
        raise NotThere(f"{path.name} says that it has {size:,} bytes")
    with path.open("rb") as file:
        file.seek(offset)
        return bytes(file.read(size))
