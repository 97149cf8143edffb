"""Parquet files with images inside: img2dataset's and Hugging Face's. Read in batches, so memory stays bounded.

img2dataset/writer.py (ParquetSampleWriter) writes a binary column named by its encode_format (`jpg`) next to `status`
and `error_message`; Hugging Face's Image feature (datasets/features/image.py) is `struct<bytes: binary, path: string>`.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as kinds

from recaption.config import Source as SourceConfig
from recaption.errors import ImageError, ShardError, SourceError
from recaption.io.files import failed, is_url, open_stream
from recaption.source.base import PART_SIZE, FileSource, Row, check_caption, checked, images, unreadable
from recaption.source.columns import clean, shortened, unused_captions
from recaption.source.paths import looks_like_part, part_id
from recaption.types import Image, Locator, SourceShard

SUFFIXES = (".parquet", ".pq")
_BATCH = 64  # rows decoded at once; images of 10 MB then take 640 MB
_BUFFER = 1 << 20  # bytes read at once of a column
_IMAGE = ("image", "jpg", "jpeg", "png", "webp")  # in this order, where source.image names none
_KEY = ("key", "__key__")
_ALLOWED = "binary (img2dataset's jpg) or struct<bytes: binary, path: string> (Hugging Face's Image)"


class _Corrupt(Exception):
    """The content of the file is corrupt, although its bytes can be read."""


class ParquetSource(FileSource):
    """Parquet files by pattern, cut at row groups into shards of up to 5,000 rows. Locators are row numbers."""

    kind = "parquet"
    suffixes = SUFFIXES

    def shards(self) -> Iterator[SourceShard]:
        number = 0
        for file in self.listed():
            try:
                with _open(file.path) as parquet:
                    cuts = cut(_group_sizes(parquet))
            except _Corrupt:
                cuts = []  # index() reports the error
            if len(cuts) <= 1 and not looks_like_part(file.id):
                yield SourceShard(id=file.id, number=number, path=file.path)
                number += 1
                continue
            for part, (first, count) in enumerate(cuts or [(0, None)]):
                name = part_id(file.id, part)
                yield SourceShard(id=name, number=number, path=file.path, first=first, count=count)
                number += 1

    def _first(self) -> tuple[str, pa.Schema] | None:
        """The path and the columns of the first file that can be read."""
        found = ((file.path, schema(file.path)) for file in self.listed())
        return next((pair for pair in found if pair[1] is not None), None)

    def columns(self) -> frozenset[str]:
        if (first := self._first()) is None:
            raise SourceError(f"source.path {self.config.path!r}: none of its files is a readable Parquet file")
        path, columns = first
        roles = find_roles(columns, self.config, path)
        check_caption(self.config, roles.others, path)
        return frozenset(roles.others)

    def unused(self) -> list[str]:
        if (first := self._first()) is None:
            return []
        path, columns = first
        roles = find_roles(columns, self.config, path)
        dropped = [f"{f.name} ({f.type})" for f in columns if f.name not in (roles.image, *roles.others)]
        found = [f"columns that hold bytes: {shortened(dropped)}"] if dropped else []
        return found + unused_captions(roles.others, self.config)

    def index(self, shard: SourceShard) -> list[Image]:
        """One row for each row of the file. Rows that cannot be decoded, or that the file marks as failed, have a
        reason."""
        try:
            with _open(shard.path) as parquet:
                roles = find_roles(parquet.schema_arrow, self.config, shard.path)
                rows = list(_rows(parquet, roles, shard))
        except _Corrupt as error:
            rows = [_unreadable(shard.path, None, str(error))]
        return images(shard, rows, self.config)

    def read(self, images: Sequence[Image]) -> Iterator[tuple[Image, bytes | ImageError]]:
        """Only the image column of the row groups that hold the rows is read."""
        assert len({image.locator.path for image in images}) <= 1, "images of one shard"
        if not images:
            return
        path = images[0].locator.path
        try:
            with _open(path) as parquet:
                roles = find_roles(parquet.schema_arrow, self.config, path)
                yield from _read(parquet, roles, images)
        except (_Corrupt, SourceError) as error:  # replaced since it was indexed
            raise ShardError(f"{path} has changed since it was indexed: {error}", shard=images[0].shard) from error


def schema(path: str) -> pa.Schema | None:
    """The file's columns; None if it is not a Parquet file. Raises ShardError."""
    try:
        with _open(path) as parquet:
            return parquet.schema_arrow
    except _Corrupt:
        return None


def cut(group_sizes: Sequence[int], size: int = PART_SIZE) -> list[tuple[int, int]]:
    """(first row, rows) of each part: whole row groups where they fit, so none is read twice; larger ones are cut."""
    parts: list[tuple[int, int]] = []
    at = 0
    for rows in group_sizes:
        if rows == 0:
            continue
        if parts and parts[-1][1] + rows <= size:
            parts[-1] = (parts[-1][0], parts[-1][1] + rows)
        else:
            parts += [(at + i, min(size, rows - i)) for i in range(0, rows, size)]
        at += rows
    return parts


@contextmanager
def _open(path: str) -> Iterator[pq.ParquetFile]:
    """Raises _Corrupt, ShardError."""
    try:
        source = open_stream(path, sequential=False) if is_url(path) else pa.OSFile(path)
    except OSError as error:
        raise failed(path, error) from error
    with source:
        with _reading(path):
            parquet = pq.ParquetFile(source, pre_buffer=False, buffer_size=_BUFFER)
        with parquet:
            yield parquet


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Distinguishes errors in a file's content from errors while reading it."""
    try:
        yield
    except pa.ArrowException as error:
        raise _Corrupt(f"{path} cannot be decoded: {error}") from error
    except OSError as error:
        if type(error) is OSError and error.errno is None:  # how Arrow reports corrupt pages and thrift
            raise _Corrupt(f"{path} cannot be decoded: {error}") from error
        raise failed(path, error) from error
    except ShardError:
        raise
    except Exception as error:
        raise failed(path, error) from error


def _group_sizes(parquet: pq.ParquetFile) -> list[int]:
    metadata = parquet.metadata
    return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]


def _batches(parquet: pq.ParquetFile, path: str, group: int, skip: int, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Batches of a row group from its row `skip` on. Raises _Corrupt, ShardError."""
    with _reading(path):
        batches = parquet.iter_batches(batch_size=_BATCH, row_groups=[group], columns=columns, use_threads=False)
    while True:
        with _reading(path):
            batch = next(batches, None)
        if batch is None:
            return
        if skip < batch.num_rows:
            yield batch.slice(skip)
        skip = max(0, skip - batch.num_rows)


def _rows(parquet: pq.ParquetFile, roles: Roles, shard: SourceShard) -> Iterator[Row]:
    start = 0
    end = shard.first + shard.count if shard.count is not None else parquet.metadata.num_rows
    wanted = [*roles.others, *roles.image_leaves]
    for group, size in enumerate(_group_sizes(parquet)):
        at, last = max(start, shard.first), min(start + size, end)
        if at < last:
            try:
                for batch in _batches(parquet, shard.path, group, at - start, wanted):
                    with _reading(shard.path):
                        made = list(_batch_rows(batch.slice(0, last - at), roles, shard.path, at))
                    yield from made
                    at += len(made)
                    if at >= last:
                        break
                if at < last:
                    raise _Corrupt(f"{shard.path}: row group {group} has fewer rows than its metadata states")
            except _Corrupt as error:  # the footer has the number of rows, so each row keeps its position
                yield from (_unreadable(shard.path, row, str(error)) for row in range(at, last))
        start += size


def _batch_rows(batch: pa.RecordBatch, roles: Roles, path: str, first: int) -> Iterator[Row]:
    data, names = _bytes(batch, roles), _names(batch, roles)
    columns = {name: _values(batch.column(name)) for name in roles.others}
    keys = columns[roles.key] if roles.key else names
    for i in range(batch.num_rows):
        file_row = first + i
        row = Row(
            source_key="" if keys[i] is None else str(keys[i]),
            locator=Locator(path=path, size=0, row=file_row),
            columns={name: column[i] for name, column in columns.items()},
        )
        buffer = data[i].as_buffer()
        if roles.has_status and columns["status"][i] != "success":
            row.reason = "source_failed"
            row.detail = str(columns["error_message"][i] or f"status {columns['status'][i]}")
        elif buffer is None:
            row.reason = "missing_image"
            row.detail = f"column {roles.image} is null"
            if names[i] is not None:
                row.detail = f"only the path {names[i]!r} is in the file, not the bytes"
        elif buffer.size == 0:
            row.reason, row.detail = "empty", f"column {roles.image} has no bytes"
        else:
            row.sha256 = hashlib.sha256(buffer).hexdigest()
            row.locator = Locator(path=path, size=buffer.size, row=file_row)
            row.read_header(buffer.to_pybytes())
        yield row


def _bytes(batch: pa.RecordBatch, roles: Roles) -> pa.Array:
    column = batch.column(roles.image)
    return pc.struct_field(column, "bytes") if roles.nested else column


def _names(batch: pa.RecordBatch, roles: Roles) -> list[str | None]:
    """Hugging Face's file names, if there are any."""
    if not roles.has_path:
        return [None] * batch.num_rows
    return _values(pc.struct_field(batch.column(roles.image), "path"))


def _values(column: pa.Array) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.string())  # nanoseconds do not fit into datetime
    try:
        return [clean(value) for value in column.to_pylist()]
    except UnicodeDecodeError:  # Arrow does not check that text is UTF-8
        return [None if v.as_buffer() is None else bytes(v.as_buffer()).decode("utf-8", "replace") for v in column]
    except (ValueError, OverflowError):  # nested nanoseconds, dates in years that Python does not support
        return [None] * len(column)


def _unreadable(path: str, row: int | None, detail: str) -> Row:
    return Row(source_key="", locator=Locator(path=path, size=0, row=row), reason="unreadable", detail=detail)


def _read(parquet: pq.ParquetFile, roles: Roles, images: Sequence[Image]) -> Iterator[tuple[Image, bytes | ImageError]]:
    starts = [0, *accumulate(_group_sizes(parquet))]
    for group, found in groupby(images, key=lambda image: bisect_right(starts, image.locator.row or 0) - 1):
        if group < len(starts) - 1:
            yield from _read_group(parquet, roles, group, starts[group], list(found))
        else:  # the file has fewer rows by now
            yield from ((image, checked(image, None)) for image in found)


def _read_group(
    parquet: pq.ParquetFile, roles: Roles, group: int, start: int, images: Sequence[Image]
) -> Iterator[tuple[Image, bytes | ImageError]]:
    waiting = list(images)[::-1]
    path = images[0].locator.path
    at = images[0].locator.row or 0
    try:
        for batch in _batches(parquet, path, group, at - start, [roles.bytes_leaf]):
            data = _bytes(batch, roles)
            while waiting and (row := waiting[-1].locator.row or 0) < at + batch.num_rows:
                image = waiting.pop()
                yield image, checked(image, data[row - at].as_py())
            at += batch.num_rows
            if not waiting:
                return
        raise _Corrupt(f"{path}: row group {group} has fewer rows than its metadata states")
    except _Corrupt as error:
        yield from ((image, unreadable(image, error)) for image in reversed(waiting))


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """Names of a Parquet file's columns by role."""

    image: str
    nested: bool  # image is struct<bytes, path>
    has_path: bool
    key: str | None
    others: tuple[str, ...]  # kept in Image.columns
    has_status: bool  # img2dataset's status and error_message

    @property
    def bytes_leaf(self) -> str:
        """What to select so that only the bytes are read."""
        return f"{self.image}.bytes" if self.nested else self.image

    @property
    def image_leaves(self) -> list[str]:
        return [self.bytes_leaf, f"{self.image}.path"] if self.has_path else [self.bytes_leaf]


def find_roles(schema: pa.Schema, config: SourceConfig, path: str) -> Roles:
    """The roles of a file's columns. Raises SourceError, which names the columns, their types and what is allowed."""
    image = _image_column(schema, config.image, path)
    kind = schema.field(image).type
    nested = kinds.is_struct(kind)
    others = tuple(f.name for f in schema if f.name != image and not _holds_bytes(f.type))
    if config.key is not None and config.key not in others:
        raise SourceError(f"source.key: {path} has no text column {config.key!r}; it has {_listed(schema)}")
    key = config.key or next((name for name in _KEY if name in others), None)
    texts = [name for name in ("status", "error_message") if name in others and _is_text(schema.field(name).type)]
    return Roles(
        image=image,
        nested=nested,
        has_path=nested and kind.get_field_index("path") >= 0,
        key=key,
        others=others,
        has_status=len(texts) == 2,
    )


def has_image(schema: pa.Schema, config: SourceConfig) -> bool:
    names = (config.image,) if config.image else _IMAGE
    return any(name in schema.names and _is_image(schema.field(name).type) for name in names)


def _image_column(schema: pa.Schema, wanted: str | None, path: str) -> str:
    twice = {name for name in schema.names if schema.names.count(name) > 1}
    if twice:
        raise SourceError(f"{path} has several columns named {', '.join(sorted(twice))}. Rename all but one")
    present = [name for name in ((wanted,) if wanted else _IMAGE) if name in schema.names]
    for name in present:
        if _is_image(schema.field(name).type):
            return name
    if present:
        raise SourceError(
            f"{path}: column {present[0]!r} is {schema.field(present[0]).type}, which holds no images. "
            f"Allowed: {_ALLOWED}. Its columns are {_listed(schema)}; name the one with the images in source.image. "
            "If it holds URLs, download them first (recaption download)"
        )
    names = ", ".join(map(repr, (wanted,) if wanted else _IMAGE))
    raise SourceError(
        f"{path} has no image column {names}; its columns are {_listed(schema)}. "
        f"Name the one with the images in source.image; allowed: {_ALLOWED}"
    )


def _listed(schema: pa.Schema) -> str:
    return ", ".join(f"{f.name} ({f.type})" for f in schema)


def _is_bytes(kind: pa.DataType) -> bool:
    return kinds.is_binary(kind) or kinds.is_large_binary(kind) or kinds.is_binary_view(kind)


def _is_text(kind: pa.DataType) -> bool:
    if kinds.is_dictionary(kind):
        kind = kind.value_type
    return kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind)


def _is_image(kind: pa.DataType) -> bool:
    if kinds.is_struct(kind):
        at = kind.get_field_index("bytes")
        return at >= 0 and _is_bytes(kind.field(at).type)
    return _is_bytes(kind)


def _holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column cannot be JSON: bytes at any depth."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if _is_bytes(kind) or kinds.is_fixed_size_binary(kind):
        return True
    if kinds.is_dictionary(kind):
        return _holds_bytes(kind.value_type)
    return any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields)) if kinds.is_nested(kind) else False
