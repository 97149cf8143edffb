"""Members of a tar, from front to back, with the byte range of each one's data, and how samples are named.

The standard library's `TarInfo.frombuf` parses the headers. This module follows the chain of headers itself, because
`TarFile` seeks, recurses on hostile headers, and takes a broken header for the end of the archive.
Formats: POSIX.1-1988 ustar, POSIX.1-2001 pax (`size`, `path`, `GNU.sparse.*`), GNU long names and sparse files.
Nothing is ever written, links are not followed, names are only text.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

from recaption.errors import SourceError
from recaption.io.files import failed

NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)", re.DOTALL)  # webdataset/tariterators.py, base_plus_ext
_META = re.compile(r"__[^/]*__($|/)")  # members that webdataset leaves out
BLOCK = 512
_PIECE = 1 << 20  # bytes read at once
_MAX_HEADER = 1 << 20  # bytes of a pax header or a long name
_TRAILER = 1 << 20  # bytes read after the end marker; the usual padding is to 10,240
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}

Kind = Literal["file", "hard link", "symbolic link", "sparse file", "other"]
_KINDS: dict[bytes, Kind] = {
    **dict.fromkeys(tarfile.REGULAR_TYPES, "file"),
    tarfile.LNKTYPE: "hard link",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.GNUTYPE_SPARSE: "sparse file",
}


_PLAIN = (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


class BrokenTarError(Exception):
    """The archive cannot be followed further. `name` is the member that was cut, if its header was whole."""

    def __init__(self, message: str, name: str | None = None) -> None:
        super().__init__(message)
        self.name = name


class Member(NamedTuple):
    """A member of a tar."""

    name: str  # UTF-8; other bytes as \\xNN
    kind: Kind
    start: int  # of its first header, in bytes
    offset: int  # of the data, in bytes
    size: int  # bytes of data as stored


class TarReader:
    """One pass over a tar: `members()` gives them in order, `pieces()` the data of the current one.

    Raises BrokenTarError if the archive is cut off or corrupt, ShardError when reading fails, SourceError for a
    compressed tar.
    """

    def __init__(self, file: BinaryIO, path: str, *, end: int | None = None, seek: bool = False) -> None:
        """`end`: stop at this byte, for a tar without an end marker. `seek`: pass over the data, and do not read it;
        the bytes after the end marker are not read either."""
        self._file, self._path, self._end, self._seek = file, path, end, seek
        self._at = 0
        self._globals: dict[str, str] = {}

    def members(self) -> Iterator[Member]:
        while (member := self._next()) is not None:
            yield member
            if self._seek:
                self._at = member.offset + member.size + -member.size % BLOCK
                self._file.seek(self._at)
                continue
            for _ in self.pieces(member):
                pass
            self._read(-member.size % BLOCK)  # padding; if it is cut, so is the end marker

    def pieces(self, member: Member) -> Iterator[bytes]:
        """What is still unread of the member's data, in order."""
        end = member.offset + member.size
        while self._at < end:
            piece = self._read(min(_PIECE, end - self._at))
            if not piece:
                raise BrokenTarError(
                    f"the archive ends at byte {self._at}, {end - self._at} bytes before the end of {member.name}",
                    member.name,
                )
            yield piece

    def hashed(self, member: Member, limit: int) -> tuple[str, bytes | None]:
        """The sha256 of the member's data, and the data unless they exceed `limit` bytes."""
        digest, kept = hashlib.sha256(), []
        for piece in self.pieces(member):
            digest.update(piece)
            if member.size <= limit:
                kept.append(piece)
        return digest.hexdigest(), b"".join(kept) if member.size <= limit else None

    def _read(self, size: int) -> bytes:
        try:
            data = self._file.read(size) if size else b""
        except Exception as error:  # fsspec back ends have different errors
            raise failed(self._path, error) from error
        self._at += len(data)
        return data

    def _take(self, size: int) -> bytes:
        """The data of a header of `size` bytes."""
        if size > _MAX_HEADER:
            raise BrokenTarError(f"a header of {size} bytes at byte {self._at}")
        data = self._read(size + -size % BLOCK)
        if len(data) < size:
            raise BrokenTarError(f"the archive ends within a header at byte {self._at}")
        return data[:size]

    def _next(self) -> Member | None:
        """The next member; None at the end of the archive."""
        pax: dict[str, str] = dict(self._globals)
        long_name: str | None = None
        start = self._at
        while self._end is None or self._at < self._end:
            block = self._read(BLOCK)
            if len(block) < BLOCK:
                self._refuse_compressed(block)
                raise BrokenTarError(
                    f"the archive ends at byte {self._at} without an end marker: it may have been cut off"
                )
            if block.count(0) == BLOCK:
                if not self._seek:
                    self._check_trailer()
                return None
            kind, name, size = plain_header(block) or self._header(block)
            if kind == tarfile.GNUTYPE_LONGNAME:
                long_name = _text(self._take(size).rstrip(b"\0"))
            elif kind == tarfile.GNUTYPE_LONGLINK:
                self._take(size)
            elif kind in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                pax |= self._pax(self._take(size))
            elif kind == tarfile.XGLTYPE:
                self._globals |= self._pax(self._take(size))
                pax = {**self._globals, **pax}
            else:
                name = pax.get("GNU.sparse.name") or pax.get("path") or long_name or name
                return self._member(kind, name, size, start, block, pax)
        return None

    def _header(self, block: bytes) -> tuple[bytes, str, int]:
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "backslashreplace")
        except (tarfile.HeaderError, ValueError, OverflowError) as error:
            self._refuse_compressed(block)
            raise BrokenTarError(f"there is no tar header at byte {self._at - BLOCK}: {error}") from error
        if header.size < 0:
            raise BrokenTarError(f"negative size in the header at byte {self._at - BLOCK}", header.name)
        return header.type, header.name, header.size

    def _member(self, type: bytes, name: str, size: int, start: int, block: bytes, pax: dict[str, str]) -> Member:
        sparse = type == tarfile.GNUTYPE_SPARSE
        more = sparse and block[482]  # old GNU format: further blocks of the map stand between header and data
        while more:
            extension = self._take(BLOCK)
            more = extension[504]
        kind = _KINDS.get(type, "other")
        if sparse or any(key.startswith("GNU.sparse.") for key in pax):
            kind = "sparse file"
        if "size" in pax:
            if not pax["size"].isascii() or not pax["size"].isdigit() or len(pax["size"]) > 18:
                raise BrokenTarError(f"size {pax['size'][:32]!r} in the pax header of {name}", name)
            size = int(pax["size"])
        # As in TarFile: known types other than files have no data, regardless of their size; unknown types do.
        has_data = type in tarfile.REGULAR_TYPES or type not in tarfile.SUPPORTED_TYPES
        return Member(name=name, kind=kind, start=start, offset=self._at, size=size if has_data else 0)

    def _pax(self, data: bytes) -> dict[str, str]:
        """Records `<length> <keyword>=<value>\\n` of a pax header; the length counts the whole record."""
        records = {}
        at = 0
        while at < len(data) and data[at]:
            space = data.find(b" ", at, at + 10)
            digits = data[at:space] if space > at else b""
            length = int(digits) if digits.isdigit() else 0
            keyword, equals, value = data[space + 1 : at + length - 1].partition(b"=")
            if not equals or at + length > len(data):
                raise BrokenTarError(f"malformed pax header before byte {self._at}")
            records[_text(keyword)] = _text(value)
            at += length
        return records

    def _refuse_compressed(self, block: bytes) -> None:
        name = next((name for magic, name in _COMPRESSED.items() if block.startswith(magic)), None)
        if name and self._at <= BLOCK:
            raise SourceError(
                f"{self._path} is a tar compressed with {name}: its images cannot be read by byte range, and JPEGs do "
                "not get smaller. Decompress it to a plain .tar"
            )

    def _check_trailer(self) -> None:
        """Only zeros may follow the end marker; a second archive there would be lost silently."""
        start = self._at
        while self._at - start < _TRAILER and (piece := self._read(_PIECE)):
            if piece.count(0) != len(piece):
                raise BrokenTarError(
                    f"there is data after the end marker at byte {start - BLOCK}, which tar readers ignore "
                    "(two archives joined with cat?)"
                )


def split_name(name: str) -> tuple[str, str] | None:
    """Key and suffix (lower case) of a member; None for one that belongs to no sample."""
    found = None if name[:2] == "__" and _META.match(name) else NAME.fullmatch(name)
    return (found[1], found[2].lower()) if found else None


def plain_header(block: bytes) -> tuple[bytes, str, int] | None:
    """Type, name and size in a plain ustar header, in a tenth of the standard library's time; None for others."""
    size, checksum = block[124:136].strip(b" \0"), block[148:156].strip(b" \0")
    if not (size.isdigit() and checksum.isdigit() and block[257:263] == b"ustar\0" and not block[345]):
        return None
    if block[156:157] not in _PLAIN:
        return None
    try:
        if int(checksum, 8) != _sum(block[:148]) + 8 * ord(" ") + _sum(block[156:]):
            return None
        return block[156:157], _text(block[:100].partition(b"\0")[0]), int(size, 8)
    except ValueError:
        return None


def _sum(some: bytes) -> int:
    """The sum of the bytes, modulo 65521: the lower half of Adler-32 is that sum plus 1 (RFC 1950). ASCII headers have
    smaller sums."""
    return (zlib.adler32(some) & 0xFFFF) - 1


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
