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

from recaption.store import Store
from recaption.types import Record
from recaption.write.outfile import Sink, outfile
from recaption.write.pixels import Stored
from recaption.write.profile import FlairProfile
from recaption.write.sample import primary_text, sample_json

_PAD = bytes(512)
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
        self._sink.write(
            sample_bytes(record, image, tokenizers=self._tokenizers, primary=self._primary, profile=self._profile)
        )

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


def sample_bytes(
    record: Record,
    image: Stored,
    *,
    tokenizers: Sequence[str] = (),
    primary: Sequence[str] = (),
    profile: FlairProfile | None = None,
) -> bytes:
    """One sample as it lies in the tar: headers, members and padding."""
    members = (
        (image.suffix, image.data),
        ("txt", primary_text(record, primary).encode()),
        ("json", sample_json(record, image, tokenizers, profile)),
    )
    return packed(record.key, members)


def packed(key: str, members: Sequence[tuple[str, bytes]]) -> bytes:
    """The members `<key>.<suffix>` of a sample with their headers and padding."""
    pieces: list[bytes] = []
    for suffix, data in members:
        pieces += (header(f"{key}.{suffix}", len(data)), data, _PAD[: -len(data) % 512])
    return b"".join(pieces)


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
    start = name.encode("ascii").ljust(_USTAR_NAME, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + _TIME
    checksum = sum(start) + _REST_SUM
    return b"".join((start, b"%06o\0 " % checksum, _REST))


# What follows the size is the same for every member: time 0; type file; no link; ustar, version 00, no owner.
_TIME = b"00000000000\0"
_REST = struct.pack("<1s100s6s2s32s32s8s8s155s12x", b"0", b"", b"ustar\0", b"00", b"", b"", b"", b"", b"")
_REST_SUM = sum(_REST) + 8 * 0x20  # the checksum field itself counts as spaces
