"""The members of one sample of a tar, and the index of a tar that has none.

A sample is consecutive members with the same name up to the first dot of the last part (webdataset/tariterators.py).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt

from recaption.errors import DatasetError, ShardError, SourceError
from recaption.imagefile import LOADED_SUFFIXES
from recaption.io.tar import BrokenTarError, Member, TarReader, plain_header, split_name

_BLOCK: Final = 512


def sample(data: bytes) -> tuple[str, dict[str, bytes]]:
    """Key and members by suffix of a sample, from its bytes in the tar. Raises DatasetError."""
    key = ""
    found: dict[str, bytes] = {}
    for name, offset, size in _plain(data) or _any(data):
        named = split_name(name)
        if named is None:
            continue
        if offset + size > len(data):
            raise DatasetError(f"the tar ends before the end of {name}: it was cut off", key=named[0])
        if key and named[0] != key:
            raise DatasetError(f"the index belongs to another tar: a sample has members of {key} and {named[0]}")
        key = named[0]
        found.setdefault(named[1], data[offset : offset + size])
    if not found:
        raise DatasetError("the index belongs to another tar: there is no sample at its offset")
    return key, found


def _plain(data: bytes) -> list[tuple[str, int, int]] | None:
    """Name, offset and size of the members; None if one is not a regular file with a ustar header."""
    found = []
    at = 0
    while at < len(data):
        header = plain_header(data[at : at + _BLOCK])
        if header is None or header[0] != tarfile.REGTYPE:
            return None
        _, name, size = header
        found.append((name, at + _BLOCK, size))
        at += _BLOCK + size + -size % _BLOCK
    return found


def _any(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of the regular files, with headers of any kind."""
    for member in _members(io.BytesIO(data), len(data)):
        if member.kind == "file":
            yield member.name, member.offset, member.size


def build_index(file: BinaryIO, size: int) -> npt.NDArray[np.uint64]:
    """Start and end of the samples with an image in a seekable tar of `size` bytes, [n, 2].

    Only headers are read. Raises DatasetError if the tar is broken, because samples would be lost silently.
    """
    spans: list[tuple[int, int]] = []
    key, start, end, suffixes = None, 0, 0, set[str]()

    def close() -> None:
        if key is not None and suffixes.intersection(LOADED_SUFFIXES):
            spans.append((start, end))

    for member in _members(file):
        last = member.offset + member.size
        if last > size:
            raise DatasetError(f"the tar ends at byte {size}, before the end of {member.name}: it was cut off")
        named = split_name(member.name)
        if named is None or member.kind != "file":
            close()
            key = None
            continue
        if named[0] != key or named[1] in suffixes:
            close()
            key, start, suffixes = named[0], member.start, set()
        suffixes.add(named[1])
        end = last + -last % _BLOCK
    close()
    return np.array(spans, np.uint64).reshape(-1, 2)


def _members(file: BinaryIO, end: int | None = None) -> Iterator[Member]:
    """The members, from their headers alone. Raises DatasetError if the tar is cut off, broken or compressed."""
    try:
        yield from TarReader(file, "the file", end=end, seek=True).members()
    except BrokenTarError as error:
        raise DatasetError(str(error)) from error
    except ShardError as error:  # reading failed; the caller adds the path
        raise error.__cause__ or error from None
    except SourceError as error:
        raise DatasetError(f"{error}. Samples are read in random order") from error
