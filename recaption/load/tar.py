"""The members of one sample of a tar, and the index of a tar that has none.

A sample is consecutive members with the same name up to the first dot of the last part (webdataset/tariterators.py,
base_plus_ext). Headers: POSIX.1-1988 ustar, POSIX.1-2001 pax (`path`, `size`), GNU long names.
"""

from __future__ import annotations

import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from recaption.errors import DatasetError

IMAGE_SUFFIXES: Final = ("jpg", "jpeg", "png", "webp")
"""In this order, where a sample has several."""

_BLOCK: Final = 512
_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)
_META = re.compile(r"__[^/]*__($|/)")  # members that webdataset leaves out
_MAX_HEADER: Final = 1 << 20
_REGULAR: Final = (b"0", b"\0", b"7")
_COMPRESSED: Final = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
"""First bytes of compressed files: RFC 1952, bzip2, the .xz format, RFC 8878."""

Read = Callable[[int, int], bytes]
"""(offset, size) -> bytes, less of them where the file ends."""


class Member(NamedTuple):
    """A regular file in a tar."""

    name: str
    start: int  # of its first header, in bytes
    offset: int  # of its data
    size: int  # of its data
    whole: bool  # regular, and not sparse: its bytes are all there


def members(read: Read, start: int = 0, end: int | None = None) -> Iterator[Member]:
    """Members from `start` up to the end mark, or to `end`. Raises DatasetError where the tar is cut off or broken."""
    at = first = start
    name: str | None = None
    size: int | None = None
    sparse = False
    while end is None or at < end:
        block = read(at, _BLOCK)
        if at == 0:
            _refuse_compressed(block)
        if len(block) < _BLOCK:
            raise DatasetError(f"the tar ends at byte {at + len(block)}, within or before a header: it was cut off")
        if block.count(0) == _BLOCK:
            return
        kind, own_name, own_size = _header(block, at)
        at += _BLOCK
        if kind in (b"x", b"g", b"L", b"K", b"X"):
            body = read(at, own_size) if own_size <= _MAX_HEADER else b""
            if len(body) < own_size:
                raise DatasetError(f"the header before byte {at} promises {own_size} bytes, which are not there")
            if kind in (b"x", b"X"):
                fields = _pax(body, at)
                name, sparse = fields.get("path", name), sparse or any(key.startswith("GNU.sparse") for key in fields)
                if "size" in fields:
                    size = int(fields["size"])
            elif kind == b"L":
                name = body.rstrip(b"\0").decode("utf-8", "backslashreplace")
            at += own_size + -own_size % _BLOCK
            continue
        length = own_size if size is None else size
        regular = kind in _REGULAR
        has_data = regular or kind not in tarfile.SUPPORTED_TYPES
        yield Member(name or own_name, first, at, length if has_data else 0, regular and not sparse)
        at += length + -length % _BLOCK if has_data else 0
        first, name, size, sparse = at, None, None, False


def _refuse_compressed(block: bytes) -> None:
    for magic, name in _COMPRESSED.items():
        if block.startswith(magic) and block[257:262] != b"ustar":
            raise DatasetError(
                f"the tar is compressed with {name}. Samples are read at random, so the loader needs plain tars: "
                "decompress it (for gzip: gunzip FILE.tar.gz) and give the .tar"
            )


def split_name(name: str) -> tuple[str, str] | None:
    """Key and suffix (lower case) of a member; None for one that belongs to no sample."""
    found = None if name[:2] == "__" and _META.match(name) else _NAME.fullmatch(name)
    return (found[1], found[2].lower()) if found else None


def sample(data: bytes) -> tuple[str, dict[str, bytes]]:
    """Key and members by suffix of a sample, given the bytes that it takes in the tar. Raises DatasetError."""
    key = ""
    found: dict[str, bytes] = {}
    for name, offset, size in _plain(data) or _any(data):
        named = split_name(name)
        if named is None:
            continue
        if offset + size > len(data):
            raise DatasetError(f"the tar ends before the end of {name}: it was cut off", key=named[0])
        if key and named[0] != key:
            raise DatasetError(f"the index is not that of this tar: a sample has members of {key} and {named[0]}")
        key = named[0]
        found.setdefault(named[1], data[offset : offset + size])
    if not found:
        raise DatasetError("there is no sample where the index says: it is not that of this tar")
    return key, found


def _plain(data: bytes) -> list[tuple[str, int, int]] | None:
    """Name, offset and size of the members; None where one is no regular file with a ustar header."""
    found = []
    at = 0
    while at < len(data):
        header = _ustar(data[at : at + _BLOCK])
        if header is None or header[0] not in _REGULAR:
            return None
        _, name, size = header
        found.append((name, at + _BLOCK, size))
        at += _BLOCK + size + -size % _BLOCK
    return found


def _any(data: bytes) -> Iterator[tuple[str, int, int]]:
    """The same of whatever there may be."""
    for member in members(lambda at, size: data[at : at + size], 0, len(data)):
        if member.whole:
            yield member.name, member.offset, member.size


def build_index(read: Read, size: int) -> npt.NDArray[np.uint64]:
    """Where the samples with an image begin and end in a tar of `size` bytes, [n, 2].

    Only headers are read. Raises DatasetError where the tar is broken: samples before that are not silently all.
    """
    spans: list[tuple[int, int]] = []
    key, start, end, suffixes = None, 0, 0, set[str]()

    def close() -> None:
        if key is not None and suffixes.intersection(IMAGE_SUFFIXES):
            spans.append((start, end))

    for member in members(read):
        last = member.offset + member.size
        if last > size:
            raise DatasetError(f"the tar ends at byte {size}, before the end of {member.name}: it was cut off")
        named = split_name(member.name)
        if named is None or not member.whole:
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


def _header(block: bytes, at: int) -> tuple[bytes, str, int]:
    """Type, name and size."""
    if (plain := _ustar(block)) is not None:
        return plain
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
    except (tarfile.HeaderError, ValueError, OverflowError) as error:
        raise DatasetError(f"there is no tar header at byte {at}: {error}") from error
    if info.size < 0:
        raise DatasetError(f"the header at byte {at} has a negative size")
    return info.type, info.name, info.size


def _ustar(block: bytes) -> tuple[bytes, str, int] | None:
    """Type, name and size in a plain header, in a tenth of the standard library's time; None for others."""
    size, checksum = block[124:136].strip(b" \0"), block[148:156].strip(b" \0")
    if not (size.isdigit() and checksum.isdigit() and block[257:263] == b"ustar\0" and not block[345]):
        return None
    try:
        if int(checksum, 8) != _sum(block[:148]) + 8 * ord(" ") + _sum(block[156:]):
            return None
        return block[156:157], block[:100].partition(b"\0")[0].decode("utf-8", "backslashreplace"), int(size, 8)
    except ValueError:
        return None


def _sum(some: bytes) -> int:
    """Modulo 65521: Adler-32 has 1 + that in its lower half (RFC 1950). Headers of text do not reach it."""
    return (zlib.adler32(some) & 0xFFFF) - 1


def _pax(body: bytes, before: int) -> dict[str, str]:
    """Records `<length> <keyword>=<value>\\n`; the length counts the whole record."""
    fields = {}
    at = 0
    while at < len(body) and body[at]:
        digits = body[at : at + 10].partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        keyword, equals, value = body[at + len(digits) + 1 : at + length - 1].partition(b"=")
        if not equals or at + length > len(body):
            raise DatasetError(f"the pax header before byte {before} is malformed")
        fields[keyword.decode("utf-8", "backslashreplace")] = value.decode("utf-8", "backslashreplace")
        at += length
    if not fields.get("size", "0").isdigit():
        raise DatasetError(f"the pax header before byte {before} has size {fields['size'][:32]!r}")
    return fields
