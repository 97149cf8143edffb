"""Random access to the samples of a dataset in tars, by file and row."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from recaption.errors import DatasetError
from recaption.imagefile import LOADED_SUFFIXES
from recaption.load import tar
from recaption.load.files import Files
from recaption.load.layout import DataFile, Layout
from recaption.load.pieces import PIECES, Piece, Pieces
from recaption.load.record import sample_record
from recaption.tokenids import SampleIds
from recaption.types import Record

_T = TypeVar("_T")
_ENTRY: Final = struct.Struct("<QQ")


class Sample(NamedTuple):
    """A record, and the stored bytes of its image."""

    record: Record
    image: bytes
    row: int  # in its data file
    ids: SampleIds | None = None  # stored token ids, if they are used
    orientation: int | None = None  # EXIF orientation to apply once it is decoded (sidecars only)


class Shards(Protocol):
    """The samples of all data files of a split. A sample is identified by the number of its file and its row in it."""

    counts: Sequence[int]
    """Usable samples of each file."""
    units: Sequence[int]
    """Usable samples of each unit. A unit is what is read to get one sample: a file, or a row group."""
    block: int | None = None
    """The default number of units to shuffle among; None: all of them."""
    families: Sequence[int] | None = None
    """The data file of each unit, if the units of a file are read one after the other."""

    def read(self, file: int, row: int) -> Sample:
        """Raises DatasetError with key and shard, or OSError."""
        ...

    def keep(self, units: int) -> None:
        """Keep this many units in memory from now on."""


class TarShards(Shards):
    """Samples of tars. A subclass knows where they are."""

    def __init__(
        self, layout: Layout, files: Files, counts: Sequence[int], *, tags: bool, per_piece: int | None
    ) -> None:
        """`per_piece`: read samples in pieces, of this many samples at most; None: one at a time."""
        self._data, self._files, self._tags = layout.files, files, tags
        self.counts = self.units = counts
        self.pieces: Pieces | None = None
        if per_piece is not None:
            sizes = [layout.expected[file.path].size for file in layout.files]
            self.pieces, self.block = Pieces(counts, sizes, per_piece), PIECES
            self.units = self.pieces.units

    def read(self, file: int, row: int) -> Sample:
        data = self._data[file]
        if self.pieces is not None:
            return tar_sample(data, row, *self.pieces.get(file, row, partial(self._piece, file)), tags=self._tags)
        start, end = self._span(file, row)
        return tar_sample(data, row, start, end, self._files.pread(data.path, start, end - start), tags=self._tags)

    def keep(self, units: int) -> None:
        if self.pieces is not None:
            self.pieces.keep(units)

    def _piece(self, file: int, first: int, stop: int) -> Piece:
        spans = self._spans(file, first, stop)
        start, end = int(spans[0, 0]), int(spans[-1, 1])
        return spans, self._files.pread(self._data[file].path, start, end - start)

    def _span(self, file: int, row: int) -> tuple[int, int]:
        """Start and end of a sample."""
        raise NotImplementedError

    def _spans(self, file: int, first: int, stop: int) -> npt.NDArray[np.uint64]:
        """Start and end of each sample in these rows, [n, 2]."""
        raise NotImplementedError


class Indexed(TarShards):
    """Tars of recaption, with the `.tar.idx` of each: one read for the offset, one for the sample or the piece."""

    def __init__(self, layout: Layout, files: Files, *, tags: bool, per_piece: int | None = None) -> None:
        counts = [file.samples or 0 for file in layout.files]
        super().__init__(layout, files, counts, tags=tags, per_piece=per_piece)

    def _span(self, file: int, row: int) -> tuple[int, int]:
        start, end = _ENTRY.unpack(self._entries(file, row, 2))
        return start, end

    def _spans(self, file: int, first: int, stop: int) -> npt.NDArray[np.uint64]:
        ends = np.frombuffer(self._entries(file, first, stop - first + 1), "<u8").astype(np.uint64)
        return np.stack([ends[:-1], ends[1:]], axis=1)

    def _entries(self, file: int, first: int, count: int) -> bytes:
        data = self._data[file]
        entries = self._files.pread(f"{data.path}.idx", 8 * first, 8 * count)
        if len(entries) < 8 * count:
            row = first + max(0, len(entries) // 8 - 1)
            raise DatasetError(f"{data.path}.idx ends before sample {row} of {data.samples}", shard=data.shard)
        return entries


class Tars(TarShards):
    """Tars without an index. Their headers are read once to find the samples; the offsets take 16 bytes per sample, in
    memory or, with a cache, on disk. Samples without an image are left out.
    """

    def __init__(self, layout: Layout, files: Files, *, tags: bool, per_piece: int | None = None) -> None:
        self._all = [_index(file, files) for file in layout.files]
        super().__init__(layout, files, [len(spans) for spans in self._all], tags=tags, per_piece=per_piece)

    def _span(self, file: int, row: int) -> tuple[int, int]:
        start, end = self._all[file][row].tolist()
        return start, end

    def _spans(self, file: int, first: int, stop: int) -> npt.NDArray[np.uint64]:
        return self._all[file][first:stop]


def tar_sample(data: DataFile, row: int, start: int, end: int, taken: bytes, *, tags: bool) -> Sample:
    """The sample in bytes [start, end) of a tar, of which `taken` was read. Raises DatasetError."""
    if len(taken) < end - start:
        where = f"sample {row} should end at byte {end}"
        raise DatasetError(
            f"{data.path} ends at byte {start + len(taken)}, and {where}: it was cut off", shard=data.shard
        )
    key = None
    try:
        key, members = tar.sample(taken)
        image = next((members[suffix] for suffix in LOADED_SUFFIXES if suffix in members), None)
        if image is None:
            raise DatasetError(f"the sample has no image, only {', '.join(members)}")
        return Sample(record=sample_record(key, members, data.shard, row, tags=tags), image=image, row=row)
    except DatasetError as error:
        raise DatasetError(f"{data.path}: {error.args[0]}", key=error.key or key, shard=data.shard) from error


def _index(file: DataFile, files: Files) -> npt.NDArray[np.uint64]:
    """Start and end of its samples, [n, 2]."""
    try:
        if files.cache is None:
            return _read_index(file, files)
        return files.cache.array(f"{file.path} {files.stamp(file.path)}", lambda: _read_index(file, files))
    except OSError as error:
        raise DatasetError(f"{file.path} cannot be read: {error}", shard=file.shard) from error


def _read_index(file: DataFile, files: Files) -> npt.NDArray[np.uint64]:
    try:
        size = files.size(file.path)
        with files.open(file.path) as opened:
            return tar.build_index(opened, size)
    except DatasetError as error:
        raise DatasetError(f"{file.path}: {error.args[0]}", shard=file.shard) from error
