"""Random access to rows of nested Parquet files: with image bytes (format parquet) or without (format sidecar).

Everything is read in the calling thread, without the thread pools of pyarrow. A thread of a pool that needs the GIL
while the interpreter shuts down is ended by Python, and C++ then aborts the process ("terminate called without an
active exception"). Many workers with a pool each would also compete for the cores.

Reading a row reads its row group, so some row groups are kept, and samples are shuffled among a few units at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recaption import schema
from recaption.errors import DatasetError, UserError
from recaption.io.files import REQUESTS, is_url
from recaption.load.files import Files, join
from recaption.load.layout import DataFile, Layout
from recaption.load.lru_cache import LruCache
from recaption.load.pieces import Piece, Pieces
from recaption.load.record import record_of
from recaption.load.shards import Sample
from recaption.output.paths import index_file
from recaption.threads import each
from recaption.types import Record

_BLOCK: Final = 4
"""Units that are shuffled together and kept in memory."""
_BETWEEN: Final = 4096
"""Images of a tar are read with one request if the bytes between them are at most as many as their own, plus this
number (headers, texts) for each image."""
_PLACE: Final = ("row", "key", "path", "offset", "size", "file_row")  # of the source's index


class Rows:
    """What both formats share: a record is read with its row group."""

    block: int | None = _BLOCK
    families: Sequence[int] | None = None

    def __init__(self, layout: Layout, files: Files, *, tags: bool, kept: int) -> None:
        self._data, self._files, self._tags = layout.files, files, tags
        self._ends, self._tables = LruCache(256), LruCache(kept)
        self.counts: Sequence[int] = [file.samples or 0 for file in layout.files]

    def keep(self, units: int) -> None:
        self._tables.most = units

    def _group_ends(self, file: int) -> npt.NDArray[np.int64]:
        """The ends of the file's row groups, in rows."""

        def look() -> npt.NDArray[np.int64]:
            with self._opened(file) as opened:
                groups = range(opened.metadata.num_row_groups)
                return np.cumsum([opened.metadata.row_group(n).num_rows for n in groups], dtype=np.int64)

        return self._ends.get(file, look)

    def _row(self, file: int, row: int) -> dict[str, Any]:
        ends = self._group_ends(file)
        group = int(np.searchsorted(ends, row, side="right"))
        if group == len(ends):
            raise DatasetError(f"{self._data[file].path} has no row {row}", shard=self._data[file].shard)
        table: pa.Table = self._tables.get((file, group), lambda: self._read_group(file, group))
        found: dict[str, Any] = table.slice(row - int(ends[group - 1] if group else 0), 1).to_pylist()[0]
        return found

    def _read_group(self, file: int, group: int) -> pa.Table:
        with self._opened(file) as opened:
            return opened.read_row_group(group, use_threads=False)

    @contextmanager
    def _opened(self, file: int) -> Iterator[pq.ParquetFile]:
        """Open a file. Raises DatasetError if it is not a table of records, or if it cannot be read, here or in the
        block."""
        data = self._data[file]
        try:
            with self._files.open(data.path) as stream:
                opened = pq.ParquetFile(stream, pre_buffer=False)
                schema.check_version(opened.schema_arrow, data.path)
                table = (opened.schema_arrow.metadata or {}).get(schema.TABLE_KEY)
                if table != b"records":
                    raise DatasetError(
                        f"{data.path} has the table {table!r}, not the records of a dataset", shard=data.shard
                    )
                yield opened
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{data.path} cannot be read: {error}", shard=data.shard) from error


class Embedded(Rows):
    """Format parquet: the image bytes are in the row. A row group has up to 64 MB, so units are row groups, and those
    that are shuffled together are kept. Opening reads the footer of every file."""

    def __init__(self, layout: Layout, files: Files, *, tags: bool) -> None:
        super().__init__(layout, files, tags=tags, kept=_BLOCK)
        self.units: Sequence[int] = [
            count for file in range(len(layout.files)) for count in np.diff(self._checked(file), prepend=0).tolist()
        ]

    def read(self, file: int, row: int) -> Sample:
        found = self._row(file, row)
        image = found.get("image") or {}
        if not image.get("bytes"):
            raise DatasetError("the row has no image bytes", key=found.get("key"), shard=self._data[file].shard)
        return Sample(record=record_of(found, tags=self._tags), image=image["bytes"], row=row)

    def _checked(self, file: int) -> npt.NDArray[np.int64]:
        ends, data = self._group_ends(file), self._data[file]
        rows = int(ends[-1]) if len(ends) else 0
        if rows != data.samples:
            raise DatasetError(f"{data.path} has {rows} rows; the manifest has {data.samples}", shard=data.shard)
        return ends


def first_image(layout: Layout, files: Files) -> str | None:
    """The path of an image of a sidecar's source, by the index of its first shard; None if that cannot be read."""
    if layout.out is None:
        return None
    try:
        data = files.read(join(layout.out, index_file(layout.files[0].shard)))
        paths = pq.ParquetFile(pa.BufferReader(data), pre_buffer=False).read(["path"], use_threads=False)["path"]
    except (pa.ArrowException, OSError):
        return None
    return next((path for path in paths.to_pylist() if path), None)


class Sidecar(Rows):
    """Format sidecar: the image bytes are in the source's files, at the offset in OUT/index.

    `source` is the folder that now holds these files, if they were moved. Key and sha256 are checked.
    """

    def __init__(
        self,
        layout: Layout,
        files: Files,
        *,
        split: str,
        tags: bool,
        source: str | None,
        per_piece: int | None = None,
    ) -> None:
        """`per_piece`: read images in pieces, of this many samples at most; None: one at a time."""
        super().__init__(layout, files, tags=tags, kept=4 * _BLOCK)
        self.units: Sequence[int] = self.counts
        if layout.out is None:
            raise UserError(
                f"{layout.root} is a sidecar, and the index/ of its output, which locates the images, is missing. "
                "Give the output's folder, or copy index/ beside builds/"
            )
        self._out, self._source, self._split = layout.out, source, split
        self._usable, self._places = LruCache(256), LruCache(2 * _BLOCK)
        self._pieces: Pieces | None = None
        if per_piece is not None:
            sizes = self._places_of(self._data[0])["size"]
            mean = max(1, (pc.sum(sizes).as_py() or 0) // max(1, len(sizes)))
            self._pieces = Pieces(self.counts, [mean * count for count in self.counts], per_piece)
            # Each piece needs the tables of its shard, so the pieces of a shard stay together.
            self.units, self.families = self._pieces.units, self._pieces.files

    def keep(self, units: int) -> None:
        """Keep this many units, and the tables of their shards. The pieces of a block are from one shard or two."""
        self._tables.most = self._places.most = max(4 * _BLOCK, units)
        if self._pieces is not None:
            self._pieces.keep(units)

    def read(self, file: int, row: int) -> Sample:
        at = int(self._usable_rows(file)[row])
        record = record_of(self._row(file, at), tags=self._tags)
        image = self._image(file, row, at, record)
        return Sample(record=record, image=image, row=at, orientation=record.orientation)

    def _usable_rows(self, file: int) -> npt.NDArray[np.int64]:
        return self._usable.get(file, lambda: self._look(file))

    def _places_of(self, data: DataFile) -> pa.Table:
        return self._places.get(data.shard, lambda: self._read_places(data))

    def _look(self, file: int) -> npt.NDArray[np.int64]:
        """The usable rows of the split. Two small columns are read."""
        data = self._data[file]
        with self._opened(file) as opened:
            columns = opened.read(["status", "split"], use_threads=False)
        usable = pc.and_(
            pc.is_in(columns["status"], pa.array(["ok", "partial"])), pc.equal(columns["split"], self._split)
        )
        rows = np.flatnonzero(usable.to_numpy(zero_copy_only=False))
        if len(rows) != data.samples:
            raise DatasetError(
                f"{data.path} has {len(rows)} usable rows of split {self._split}; the manifest has {data.samples}",
                shard=data.shard,
            )
        return rows

    def _image(self, file: int, row: int, at: int, record: Record) -> bytes:
        data = self._data[file]

        def wrong(what: str) -> DatasetError:
            return DatasetError(what, key=record.key, shard=data.shard)

        place = next(iter(self._places_of(data).slice(at, 1).to_pylist()), None)
        if place is None or (place["row"], place["key"]) != (record.row, record.key):
            raise wrong(f"row {at} of the index belongs to another image: the source was indexed again. Build again")
        if place["file_row"] is not None:
            raise wrong(
                "the source is Parquet or a list of classes, and a sidecar is joined with tars or folders. Build with "
                "output.format parquet; classes have no images: read the tables of the build"
            )
        path = self._path(place["path"])
        try:
            image = self._bytes(file, row, path, place["offset"], place["size"])
        except FileNotFoundError as error:
            hint = "" if self._source or is_url(path) else ". Give the folder that holds the source now as source=…"
            raise wrong(f"{path} of the source is missing{hint}") from error
        if hashlib.sha256(image).hexdigest() != record.sha256:
            raise wrong(f"the image in {path} is not the captioned one: its sha256 differs")
        return image

    def _path(self, path: str) -> str:
        return path if self._source is None else join(self._source, path.rpartition("/")[2])

    def _bytes(self, file: int, row: int, path: str, offset: int, size: int) -> bytes:
        if self._pieces is not None:
            _, _, taken = self._pieces.get(file, row, lambda first, stop: self._piece(file, first, stop))
            if len(taken) == size:
                return taken
        return self._files.pread(path, offset, size)

    def _piece(self, file: int, first: int, stop: int) -> Piece:
        """Empty if the images are not near each other in a tar. Images that are files of their own are joined."""
        data = self._data[file]
        places = self._places_of(data).take(pa.array(self._usable_rows(file)[first:stop]))
        starts = places["offset"].to_numpy().astype(np.uint64)
        spans = np.stack([starts, starts + places["size"].to_numpy().astype(np.uint64)], axis=1)
        length, wanted = int(spans[-1, 1]) - int(spans[0, 0]), int((spans[:, 1] - spans[:, 0]).sum())
        if len(spans) > 1 and len(places["path"].unique()) == len(spans):
            by_requests = self._files.by_requests(self._path(str(places["path"][0])))
            return self._joined(places) if by_requests else (spans, b"")  # local files are read where they are needed
        in_one = len(places["path"].unique()) == 1 and bool((spans[1:, 0] >= spans[:-1, 1]).all())
        if not in_one or length > 2 * wanted + _BETWEEN * len(spans):
            return spans, b""
        return spans, self._files.pread(self._path(str(places["path"][0])), int(spans[0, 0]), length)

    def _joined(self, places: pa.Table) -> Piece:
        """Images that are files of their own, read by several requests at a time. An image that cannot be read is empty
        here. It is read again where it is needed, which raises its error."""

        def read(place: dict[str, Any]) -> bytes:
            try:
                return self._files.pread(self._path(place["path"]), place["offset"], place["size"])
            except OSError:
                return b""

        images = list(each(read, places.to_pylist(), REQUESTS))
        ends = np.cumsum([len(image) for image in images]).astype(np.uint64)
        sizes = np.array([len(image) for image in images], np.uint64)
        return np.stack([ends - sizes, ends], axis=1), b"".join(images)

    def _read_places(self, data: DataFile) -> pa.Table:
        path = join(self._out, index_file(data.shard))
        try:
            opened = pq.ParquetFile(pa.BufferReader(self._files.read(path)), pre_buffer=False)
            return opened.read(list(_PLACE), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{path}, the source's index, cannot be read: {error}", shard=data.shard) from error
