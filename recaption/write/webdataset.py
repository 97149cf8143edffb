"""Shards in webdataset form: `<shard>.tar` and its index `<shard>.tar.idx`.

A sample is exactly `<key>.jpg`, `<key>.txt`, `<key>.json`, adjacent and in this order: Hugging Face's loader wants the
same suffixes in every sample, webdataset wants them side by side. Equal samples give equal bytes: no time, no owner.
"""

from __future__ import annotations

import struct
import sys
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from recaption.io.outfile import Sink, outfile
from recaption.io.store import Store
from recaption.types import Record
from recaption.write.pixels import Stored
from recaption.write.profile import FlairProfile
from recaption.write.sample import primary_text, sample_json

_PAD = bytes(512)
_LARGE = 1 << 14  # bytes; what is smaller costs less to copy than to be written by itself
_USTAR_NAME = 100  # bytes; a longer name has no slash to be split at, so its header takes pax form


class TarWriter:
    """Appends samples to one tar; memory holds one sample at a time."""

    def __init__(
        self, sink: Sink, tokenizers: Sequence[str], primary: Sequence[str], profile: FlairProfile | None = None
    ) -> None:
        self._sink, self._tokenizers, self._primary, self._profile = sink, tokenizers, primary, profile
        self._offsets = array("Q")

    def add(self, record: Record, image: Stored) -> None:
        self._offsets.append(self._sink.size)
        members = (
            (image.suffix, image.data),
            ("txt", primary_text(record, self._primary).encode()),
            ("json", sample_json(record, image, self._tokenizers, self._profile)),
        )
        for piece in pieces(record.key, members):
            self._sink.write(piece)

    def end(self) -> bytes:
        """Write the end mark. Returns the index: where each sample begins, then the tar's size."""
        self._sink.write(end_mark(self._sink.size))
        offsets = array("Q", [*self._offsets, self._sink.size])
        if sys.byteorder == "big":
            offsets.byteswap()
        return offsets.tobytes()


@contextmanager
def tar_writer(
    store: Store,
    path: str,
    *,
    tokenizers: Sequence[str] = (),
    primary: Sequence[str] = (),
    profile: FlairProfile | None = None,
) -> Iterator[tuple[TarWriter, dict[str, Sink]]]:
    """A writer of `path` (a .tar) and `<path>.idx`; when the block has ended well both are there.

    The dict then holds the closed sinks by path. The index comes last: where it is, the tar is.
    """
    sinks: dict[str, Sink] = {}
    with outfile(store, path) as sink:
        writer = TarWriter(sink, tokenizers, primary, profile)
        yield writer, sinks
        index = writer.end()
    with outfile(store, f"{path}.idx") as beside:
        beside.write(index)
    sinks |= {path: sink, f"{path}.idx": beside}


def pieces(key: str, members: Sequence[tuple[str, bytes]]) -> Iterator[bytes]:
    """The members `<key>.<suffix>` of a sample with their headers and padding; an image by itself, not copied."""
    small: list[bytes] = []
    for suffix, data in members:
        small.append(header(f"{key}.{suffix}", len(data)))
        if len(data) >= _LARGE:
            yield b"".join(small)
            yield data
            small = []
        else:
            small.append(data)
        small.append(_PAD[: -len(data) % 512])
    yield b"".join(small)


def end_mark(size: int) -> bytes:
    """What ends a tar whose members take `size` bytes: two empty blocks, then zeros to a whole record."""
    end = size + 1024
    return bytes(1024 + -end % tarfile.RECORDSIZE)


def header(name: str, size: int) -> bytes:
    """The tar header of a regular file: ustar, mode 0644, no time, no owner; pax for names over 100 bytes."""
    if len(name) > _USTAR_NAME or size >= 8**11:
        info = tarfile.TarInfo(name)
        info.size = size
        return info.tobuf(tarfile.PAX_FORMAT)
    first, digits = name.encode("ascii"), b"%011o" % size
    checksum = sum(first) + sum(digits) + _SAME_SUM
    return b"".join((first.ljust(_USTAR_NAME, b"\0"), _MODE, digits, _TIME, b"%06o\0 " % checksum, _REST))


# The rest is the same for every member: mode 0644, owner 0; time 0; type file; no link; ustar, version 00, no names.
_MODE = b"0000644\0" + b"0000000\0" * 2
_TIME = b"\0" + b"00000000000\0"  # behind the digits of the size
_REST = struct.pack("<1s100s6s2s32s32s8s8s155s12x", b"0", b"", b"ustar\0", b"00", b"", b"", b"", b"", b"")
_SAME_SUM = sum(_MODE) + sum(_TIME) + sum(_REST) + 8 * 0x20  # the checksum field itself counts as spaces
