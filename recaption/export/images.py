"""The images of a build with their texts: from its tars or Parquet files, or from the source of a sidecar."""

from __future__ import annotations

import io
import struct
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from recaption import strictyaml
from recaption.config import load, validate
from recaption.errors import ConfigError, DatasetError, ImageError, UserError
from recaption.export.dataset import Dataset
from recaption.imagefile import STORED_SUFFIXES
from recaption.io.files import open_stream
from recaption.io.tar import BLOCK, BrokenTarError, TarReader, plain_header
from recaption.output.index import index_from_table
from recaption.output.paths import PIPELINE, index_file
from recaption.source import Source, open_source
from recaption.source.paths import hosts_of, is_on_a_host_of
from recaption.tablefile import read_table
from recaption.types import Image, Record
from recaption.write import ShardEntry, store_image

_SHOWN = 5  # places listed in a message


class ImageFile(NamedTuple):
    """An image in a trainer's dataset, as a member of a tar; `suffix` is jpg, png or webp."""

    suffix: str
    data: bytes


ReadImage = Callable[[], ImageFile]
"""Reads the image of a sample. It can be called until the next sample is taken."""


def with_readers(
    dataset: Dataset, shard: ShardEntry, records: Iterable[Record]
) -> Iterator[tuple[Record, ReadImage | None]]:
    """The usable samples of a shard, each with a function that reads its image. If the function is not called, the
    image is not read from a tar.

    None: the image is missing or has changed in the source (format sidecar only; its sha256 is checked, and other
    formats are converted to JPEG). Raises DatasetError, here or in that function, if texts and images of a build are
    inconsistent, ShardError if a file of the source is missing.
    """
    if dataset.format == "sidecar":
        for record, image in _of_source(dataset, shard, list(records)):
            yield record, None if image is None else partial(_given, image)
        return
    files = {file.split: file.path for file in shard.files if file.table == "data"}
    readers = _of_tar if dataset.format == "webdataset" else _of_parquet
    rows: dict[str, Iterator[Callable[[Record], ImageFile]]] = {}
    for record in records:
        if record.split not in rows:
            path = files.get(record.split)
            if path is None:
                raise DatasetError(f"no data of split {record.split}", key=record.key, shard=shard.name)
            rows[record.split] = readers(dataset, path, shard.name)
        read = next(rows[record.split], None)
        if read is None:
            path = dataset.file(files[record.split])
            raise DatasetError(f"{path} ends before it", key=record.key, shard=shard.name)
        yield record, partial(read, record)


def _of_tar(dataset: Dataset, path: str, shard: str) -> Iterator[Callable[[Record], ImageFile]]:
    """A reader of the image of each sample, by the tar's index; it is a sample's first member (schemas/README.md)."""
    index = dataset.read(f"{path}.idx", shard)
    offsets = struct.unpack(f"<{len(index) // 8}Q", index)
    where = dataset.file(path)
    with open_stream(where, buffering=0) as file:

        def read(start: int, end: int, record: Record) -> ImageFile:
            file.seek(start)
            name, offset, size = first_member(file, end - start, where, shard)
            if offset != BLOCK:
                file.seek(start + offset)
            data = _read(file, size) if offset + size <= end - start else b""
            if len(data) < size:
                raise DatasetError(f"{where} does not agree with its index: it ends within {name}", shard=shard)
            key, _, suffix = name.rpartition(".")
            return _checked(record, key, ImageFile(data=data, suffix=suffix), where)

        for start, end in pairwise(offsets):
            yield partial(read, start, end)


def first_member(file: BinaryIO, length: int, path: str, shard: str) -> tuple[str, int, int]:
    """The name of the first member of the sample of `length` bytes that begins here, and the offset and size of its
    data."""
    head = _read(file, BLOCK)
    header = plain_header(head)
    if header is not None and header[0] == tarfile.REGTYPE:
        return header[1], BLOCK, header[2]
    sample = io.BytesIO(head + _read(file, max(0, length - BLOCK)))
    try:
        member = next(TarReader(sample, path).members())
    except (BrokenTarError, StopIteration) as error:
        raise DatasetError(f"{path} does not agree with its index: {error}", shard=shard) from error
    return member.name, member.offset, member.size


def _read(file: BinaryIO, size: int) -> bytes:
    """The next `size` bytes, less at the end of the file. A file without a buffer may return fewer at a time."""
    data = file.read(size)
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def _of_parquet(dataset: Dataset, path: str, shard: str) -> Iterator[Callable[[Record], ImageFile]]:
    where = dataset.file(path)
    try:
        with open_stream(where, sequential=False) as file, pq.ParquetFile(file) as table:
            for group in range(table.num_row_groups):
                rows = table.read_row_group(group, columns=["key", "image.bytes", "image_format"], use_threads=False)
                for batch in rows.to_batches(max_chunksize=64):
                    for row in batch.to_pylist():
                        image = ImageFile(data=row["image"]["bytes"], suffix=STORED_SUFFIXES[row["image_format"]])
                        yield partial(_checked, key=row["key"], image=image, where=where)
    except pa.ArrowException as error:
        raise DatasetError(f"{where} cannot be read: {error}", shard=shard) from error


def _given(image: ImageFile) -> ImageFile:
    return image


def _checked(record: Record, key: str, image: ImageFile, where: str) -> ImageFile:
    """The image, if it is that of the record."""
    if key != record.key:
        raise DatasetError(f"{where} has {key} here", key=record.key, shard=record.shard)
    return image


def _of_source(dataset: Dataset, shard: ShardEntry, records: list[Record]) -> Iterator[tuple[Record, ImageFile | None]]:
    indexed = {image.row: image for image in index_of(dataset, shard.name)}
    images = []
    for record in records:
        image = indexed.get(record.row)
        if image is None or (image.key, image.sha256) != (record.key, record.sha256):
            raise DatasetError(
                "the index of the source has another image in this row", key=record.key, shard=shard.name
            )
        images.append(image)
    read = _source(dataset, images).read(images) if images else iter(())
    for record, (_, data) in zip(records, read, strict=True):
        yield record, None if isinstance(data, ImageError) else _as_jpeg(data, record)


def _as_jpeg(data: bytes, record: Record) -> ImageFile | None:
    try:
        stored = store_image(
            data, record.sha256, "jpeg", key=record.key, shard=record.shard, orientation=record.orientation
        )
    except ImageError:
        return None
    return ImageFile(data=stored.data, suffix=stored.suffix)


def index_of(dataset: Dataset, shard: str) -> list[Image]:
    """The images of a source shard, by the output's index. Raises DatasetError if there is none."""
    path = index_file(shard)
    try:
        data = dataset.out.get(path) if dataset.out else None
    except FileNotFoundError:
        data = None
    if data is None:
        raise DatasetError(
            f"{path}, which has the locations of the images in the source, is missing: {dataset.store.url} was copied "
            "from its output. Export from the output itself, or build with output.format: webdataset",
            shard=shard,
        )
    return index_from_table(read_table(pa.BufferReader(data)), shard)


def _source(dataset: Dataset, images: Sequence[Image]) -> Source:
    """The source of the images. Raises UserError if only the output, not the user's pipeline file, names a host.

    An output may come from another person, so its pipeline and index must not cause requests to hosts.
    """
    assert dataset.out is not None  # index_of has found it
    if dataset.pipeline is not None:
        config = load(str(dataset.pipeline), preset=dataset.preset)[0].source
    else:
        try:
            where = f"{dataset.out.url}/{PIPELINE}"
            data = strictyaml.read(strictyaml.decoded(dataset.out.get(PIPELINE), where), where)
            config = validate(data, where).source
        except (FileNotFoundError, ConfigError) as error:
            raise DatasetError(f"{dataset.out.url} does not name a readable source of its images: {error}") from error
    unnamed = [] if dataset.pipeline is not None else list(hosts_of(config))
    if not unnamed:
        paths = sorted({image.locator.path for image in images})
        unnamed = [f"index: {path}" for path in paths if not is_on_a_host_of(path, config.path)]
    if unnamed:
        shown = "\n".join(f"  {line}" for line in [*unnamed[:_SHOWN], *(["  …"] if len(unnamed) > _SHOWN else [])])
        raise UserError(
            f"{dataset.out.url} is a sidecar with images on other hosts. They are read only if source.path of "
            f"a pipeline file that you give has these hosts; the output needs:\n{shown}\n"
            f"Read {PIPELINE}, and give your own file with --pipeline FILE"
        )
    try:
        return open_source(config)
    except ConfigError as error:
        raise DatasetError(f"{dataset.out.url} does not name a readable source of its images: {error}") from error
