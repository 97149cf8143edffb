"""Random access to the samples of a dataset in tars, by file and row."""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from recaption.errors import DatasetError
from recaption.imagefile import LOADED_SUFFIXES
from recaption.load import tar
from recaption.load.files import Files
from recaption.load.layout import DataFile, Layout
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
    """The same samples by the unit that is read for one of them: a file, or a row group."""
    block: int | None = None
    """The default number of units to shuffle among; None: all of them."""

    def read(self, file: int, row: int) -> Sample:
        """Raises DatasetError with key and shard, or OSError."""
        ...


class LruCache:
    """The most recently used values. They are not pickled."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        if key in self._values:
            self._values.move_to_end(key)
            found: _T = self._values[key]
            return found
        made = make()
        while len(self._values) >= self._most:
            self._values.popitem(last=False)
        self._values[key] = made
        return made

    def __getstate__(self) -> int:
        return self._most

    def __setstate__(self, most: int) -> None:
        self._most, self._values = most, OrderedDict()


class Indexed(Shards):
    """Tars of recaption, with the `.tar.idx` of each: one read for the offset, one for the sample."""

    def __init__(self, layout: Layout, files: Files, *, tags: bool) -> None:
        self._data, self._files, self._tags = layout.files, files, tags
        self.counts = self.units = [file.samples or 0 for file in layout.files]

    def read(self, file: int, row: int) -> Sample:
        data = self._data[file]
        entry = self._files.pread(f"{data.path}.idx", 8 * row, 16)
        if len(entry) < 16:
            raise DatasetError(f"{data.path}.idx ends before sample {row} of {data.samples}", shard=data.shard)
        start, end = _ENTRY.unpack(entry)
        return tar_sample(self._files, data, row, start, end, tags=self._tags)


class Tars(Shards):
    """Tars without an index. Their headers are read once to find the samples; the offsets take 16 bytes per sample, in
    memory or, with a cache, on disk. Samples without an image are left out.
    """

    def __init__(self, layout: Layout, files: Files, *, tags: bool) -> None:
        self._data, self._files, self._tags = layout.files, files, tags
        self._spans = [_index(file, files) for file in layout.files]
        self.counts = self.units = [len(spans) for spans in self._spans]

    def read(self, file: int, row: int) -> Sample:
        start, end = self._spans[file][row].tolist()
        return tar_sample(self._files, self._data[file], row, start, end, tags=self._tags)


def tar_sample(files: Files, data: DataFile, row: int, start: int, end: int, *, tags: bool) -> Sample:
    """The sample in bytes [start, end) of a tar. Raises DatasetError."""
    taken = files.pread(data.path, start, end - start)
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
