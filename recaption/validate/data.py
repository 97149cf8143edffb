"""Checks data files in Parquet and their images, and compares data with the flat tables and with the source."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recaption import schema
from recaption.decode import check_header, check_pixels
from recaption.errors import DatasetError, ImageError, ShardError
from recaption.formatting import number_of
from recaption.imagefile import STORED_SUFFIXES
from recaption.io.files import is_url
from recaption.io.store import Store
from recaption.output.index import index_from_table
from recaption.output.paths import index_file
from recaption.output.stored_table import read_stored
from recaption.problems import Problem
from recaption.source.paths import is_plain_place
from recaption.source.webdataset import read_ranges
from recaption.types import Image, ImageLimits
from recaption.validate.base import USABLE, Shard, problem
from recaption.validate.files import as_written, damaged, on_disk, schema_faults, unreadable
from recaption.write.columns import by_key

_BATCH = 64  # rows; images of 10 MB then take 640 MB


def read_data(shard: Shard, file: dict[str, Any]) -> Iterator[Problem]:
    """Read a data file into `shard.found`, a batch of images at a time."""
    images = shard.manifest["format"] == "parquet"
    found: list[Problem] = []
    try:
        with on_disk(shard.build.store, file, found) as path:
            yield from found
            with pq.ParquetFile(path) as parquet:
                yield from _read(shard, file, parquet, images)
    except Exception as error:  # noqa: BLE001 - Arrow raises many types for bytes that are not Parquet
        yield unreadable(file["path"], error)


def _read(shard: Shard, file: dict[str, Any], parquet: pq.ParquetFile, images: bool) -> Iterator[Problem]:
    expected = as_written(parquet.schema_arrow, schema.records(shard.tokenizers, image=images))
    wrong = list(schema_faults(parquet.schema_arrow, expected, "records", file["path"]))
    yield from wrong
    if wrong:
        return
    names = [name for name in schema.records(shard.tokenizers).names if name in expected.names]
    pieces = []
    for batch in parquet.iter_batches(batch_size=_BATCH, columns=expected.names, use_threads=False):
        table = pa.Table.from_batches([batch])
        table.validate(full=True)
        if images:
            for i in range(table.num_rows):
                yield from _check_image(
                    shard, {name: table[name][i] for name in table.column_names if name != "captions"}, file
                )
        pieces.append(table.select(names))
    rows = sum(piece.num_rows for piece in pieces)
    if rows != file["rows"]:
        yield problem("rows", file["path"], f"has {number_of(rows, 'row')}; the manifest has {file['rows']:,}")
    whole = pa.concat_tables(pieces) if pieces else schema.records(shard.tokenizers).empty_table()
    shard.found[file["split"]] = whole.replace_schema_metadata(None)


def _check_image(shard: Shard, row: dict[str, Any], file: dict[str, Any]) -> Iterator[Problem]:
    key, name, data = row["key"].as_py(), row["image"]["path"].as_py(), row["image"]["bytes"].as_buffer()
    recorded = {n: row[n].as_py() for n in ("image_format", "image_sha256", "source_format", "sha256")}
    orientation = row["orientation"].as_py() if "orientation" in row else None  # since 1.3
    where = f"{file['path']}, {key}"
    if data is None or hashlib.sha256(data).hexdigest() != recorded["image_sha256"]:
        yield problem("image", where, "the sha256 of the bytes is not image_sha256")
    elif name != f"{key}.{STORED_SUFFIXES.get(recorded['image_format'])}":
        yield problem("image", where, f"is named {name!r}, of format {recorded['image_format']!r}")
    elif (
        orientation is None
        and recorded["image_format"] == recorded["source_format"]
        and recorded["image_sha256"] != recorded["sha256"]
    ):
        yield problem("image", where, "has the source's format, but not the source's bytes")
    else:
        yield from check_image(shard, data.to_pybytes(), where)


_ANY = ImageLimits(min_side=1, max_aspect=float("inf"))  # of builds without recorded limits


def check_image(shard: Shard, data: bytes, where: str) -> Iterator[Problem]:
    """The first problem of the file of a usable image."""
    recorded = shard.manifest.get("pixels")
    try:
        (check_pixels if shard.pixels else check_header)(data, ImageLimits(**recorded["limits"]) if recorded else _ANY)
    except ImageError as error:
        yield problem("pixels", where, f"{error.reason}: {error.args[0]}")


_NOT_NESTED = frozenset({"n_words", "n_sub_captions"})  # of captions: counted for the flat table only


def check_data(shard: Shard) -> Iterator[Problem]:
    """Compare the samples of each data file, then the captions, sub-captions and tags of all, with the flat tables."""
    if set(shard.found) != {file["split"] for file in shard.entry["files"] if file["table"] == "data"}:
        return  # a file could not be read, which is reported
    written = shard.tables["images"].column_names
    columns = [name for name in schema.IMAGES.names if name in written and not name.startswith("n_")]
    agree = True
    for split, records in shard.found.items():
        where = f"data of shard {shard.name}{f', {split}' if split else ''}"
        expected = shard.tables["images"].select(columns)
        if split is not None:  # a sidecar has rejected samples too
            usable = pc.is_in(expected["status"], pa.array(USABLE))
            expected = expected.filter(pc.and_(usable, pc.equal(expected["split"], split)))
        for wrong in _difference(records.select(columns), expected, where, "images"):
            agree = False
            yield wrong
    if not agree:
        return
    for name, table in flatten(pa.concat_tables(shard.found.values()), shard.tokenizers).items():
        columns = [column for column in table.column_names if column in shard.tables[name].column_names]
        expected = by_key(shard.tables[name].select(columns))  # files of an earlier version lack some
        yield from _difference(table.select(columns), expected, f"data of shard {shard.name}", name)


def flatten(records: pa.Table, tokenizers: Sequence[str]) -> dict[str, pa.Table]:
    """captions, sub_captions and tags of nested records, with the columns of the flat tables; sorted by key."""
    nested = _array(records["captions"])
    captions = _below(nested, records.select(["key", "shard", "split"]))
    subs = _below(_array(captions["sub_captions"]), captions.select(_shared(schema.CAPTIONS)))
    tags = _below(_array(subs["tags"]), subs.select(["sub_id", "key"]))
    made = {"captions": (captions, schema.CAPTIONS), "tags": (tags, schema.TAGS)}
    made["sub_captions"] = (subs, schema.sub_captions(tokenizers))
    return {
        name: by_key(table.select([n for n in target.names if n in table.column_names]))
        for name, (table, target) in made.items()
    }


def _shared(captions: pa.Schema) -> list[str]:
    """Columns that a sub-caption inherits from its caption."""
    own = {"text", "lang"}
    return [name for name in captions.names if name in schema.sub_captions().names and name not in own | _NOT_NESTED]


def _array(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _below(lists: pa.Array, above: pa.Table) -> pa.Table:
    """A row per element of the lists: its fields, and the columns of its parent row."""
    items = pc.list_flatten(lists)
    columns = {field.name: pc.struct_field(items, field.name) for field in items.type}
    parents = above.take(pc.list_parent_indices(lists))
    return pa.table({**{name: parents[name] for name in above.column_names}, **columns})


def _difference(found: pa.Table, expected: pa.Table, where: str, name: str) -> Iterator[Problem]:
    """The first row that differs."""
    if found.num_rows != expected.num_rows:
        missing = set(expected["key"].to_pylist()) ^ set(found["key"].to_pylist())
        what = f"has {number_of(found.num_rows, 'row')}, the table {name} {expected.num_rows:,}"
        yield problem("data", where, what + (f"; only one of the two has {min(missing, key=str)}" if missing else ""))
        return
    for column in expected.column_names:
        if found[column].equals(expected[column]):
            continue
        pairs = zip(found[column].to_pylist(), expected[column].to_pylist(), strict=True)
        differ = ((row, a, b) for row, (a, b) in enumerate(pairs) if a != b and (a == a or b == b))
        row, a, b = next(differ, (0, None, None))
        if a is None and b is None:
            continue  # only NaNs differ, which check_values reports
        place = expected["sub_id" if name == "tags" else "key"][row].as_py()
        yield problem("data", f"{where}, {place}", f"{column} is {a!r}; the table {name} has {b!r}")
        return


def check_source(shard: Shard) -> Iterator[Problem]:
    """Compare the index with the rows, then the bytes of the images where the source can be read."""
    if shard.manifest["format"] != "sidecar":
        return
    path = index_file(shard.name)
    out = shard.build.out
    if out is None or not out.exists(path):
        yield problem("no source", path, "the index with the locations of the images is missing", warning=True)
        return
    try:
        images = _index(out, path, shard.name)
    except DatasetError as error:
        yield damaged(path, error)
        return
    except Exception as error:  # noqa: BLE001 - Arrow raises many types for bytes that are not Parquet
        yield unreadable(path, error)
        return
    yield from _check_rows(shard, images)


def _index(out: Store, path: str, shard: str) -> list[Image]:
    table = read_stored(out, path)
    table.validate(full=True)
    images = index_from_table(table, shard)
    if any(not isinstance(i.locator.size + i.locator.offset, int) for i in images):
        raise DatasetError(f"{path} has no locations of the images")
    return images


def _check_rows(shard: Shard, images: list[Image]) -> Iterator[Problem]:
    rows = list(shard.columns("images", "row", "key", "sha256"))
    names = shard.path("images")
    wanted = []
    for position, (row, key, sha256) in enumerate(rows):
        image = images[row] if 0 <= row < len(images) else None
        if image is None or row != position or (image.row, image.key, image.sha256) != (row, key, sha256):
            yield problem("source", f"{names}, {key}", f"row {row} is not sample {position} of the indexed source")
            return
        if key in shard.usable and image.reason is None and image.locator.size:  # 0: a class, which has no image
            wanted.append(image)
    places = [image.locator for image in wanted if image.locator.member is not None]
    if any(a.path == b.path and a.offset >= b.offset for a, b in pairwise(places)):
        yield problem("source", names, "the rows are not in the order of the source tar")
    readable = []
    for image in wanted:
        if image.locator.row is not None:
            yield problem(
                "no source",
                image.locator.path,
                "images of a sidecar are compared for tars and folders only",
                warning=True,
            )
            return
        if not is_plain_place(image.locator.path):
            what = "is on a host that only the output names, so no request is sent there"
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
    """Whether a local file is shorter than the index requires; checked before memory is allocated."""
    place = image.locator
    if is_url(place.path) or not Path(place.path).exists():
        return False
    return place.offset < 0 or place.size < 0 or Path(place.path).stat().st_size < place.offset + place.size
