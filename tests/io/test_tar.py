from __future__ import annotations

import contextlib
import io
import tarfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recaption.errors import SourceError
from recaption.io.tar import BrokenTarError, TarReader, split_name


def scan(data: bytes) -> list[tuple[str, str, bytes]]:
    reader = TarReader(io.BytesIO(data), "x.tar")
    return [(m.name, m.kind, b"".join(reader.pieces(m))) for m in reader.members()]


def header(name: str = "a.jpg", size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("fmt", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_offsets_are_those_of_the_standard_library(fmt: int, tmp_path: Path) -> None:
    long = "d/" * 20 + "x" * 90 if fmt == tarfile.USTAR_FORMAT else "d/" * 80 + "ü" * 60
    members = [("a.jpg", b"1" * 700), (f"{long}.json", b"{}"), ("b.txt", b""), ("c.jpg", b"2" * 512)]
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=fmt) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with tarfile.open(path) as tar:
        expected = [(m.name, m.offset_data, m.size) for m in tar.getmembers()]
    with open(path, "rb") as file:
        found = [(m.name, m.offset, m.size) for m in TarReader(file, "x").members()]
    assert found == expected
    assert [data for _, _, data in scan(path.read_bytes())] == [data for _, data in members]


def test_sizes_in_pax_headers_win() -> None:
    info = tarfile.TarInfo("a.jpg")
    info.size, info.pax_headers = 0, {"size": "5"}
    data = info.tobuf(tarfile.PAX_FORMAT) + b"12345".ljust(512, b"\0") + b"\0" * 1024
    assert scan(data) == [("a.jpg", "file", b"12345")]


def test_links_devices_and_folders_are_seen_as_such() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo("x.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    assert [kind for _, kind, _ in scan(out.getvalue())] == ["symbolic link", "hard link", "other", "other"]


def test_sparse_files_are_marked() -> None:
    info = tarfile.TarInfo("a.jpg")
    info.size, info.pax_headers = 3, {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "real.jpg"}
    data = info.tobuf(tarfile.PAX_FORMAT) + b"abc".ljust(512, b"\0") + b"\0" * 1024
    assert scan(data) == [("real.jpg", "sparse file", b"abc")]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "without an end marker"),
        (header(size=0), "without an end marker"),
        (header(size=0) + header()[:100], "without an end marker"),
        (header(size=600) + b"1" * 512, "88 bytes before the end of a.jpg"),
        (header(size=0) + b"garbage".ljust(512, b"?"), "no tar header at byte 512"),
        (b"<html>".ljust(2048), "no tar header at byte 0"),
        (header(size=0) + b"\0" * 1024 + header(), "after the end marker"),
        (header(size=10**9, kind=tarfile.XHDTYPE), "a header of 1000000000 bytes"),
        (header(size=10**9, kind=tarfile.GNUTYPE_LONGNAME), "a header of"),
        (header(size=512, kind=tarfile.XHDTYPE) + b"9" * 512, "malformed pax"),
        (header(size=12, kind=tarfile.XHDTYPE) + b"99 path=abc\n".ljust(512, b"\0"), "malformed pax"),
        (header(size=12, kind=tarfile.XHDTYPE) + b"12 size=-99\n".ljust(512, b"\0") + header(), "size '-99'"),
    ],
)
def test_broken_archives_say_where_and_how(data: bytes, message: str) -> None:
    with pytest.raises(BrokenTarError, match=message):
        scan(data)


def test_a_negative_size_ends_the_archive() -> None:
    block = bytearray(header())
    block[124:136] = b"\xff" * 12  # base 256, -1
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    with pytest.raises(BrokenTarError, match="negative size"):
        scan(bytes(block) + b"\0" * 2048)


def test_a_long_chain_of_headers_is_no_recursion() -> None:
    data = header(size=0, kind=tarfile.XHDTYPE) * 5_000 + header() + b"\0" * 1024
    assert [name for name, _, _ in scan(data)] == ["a.jpg"]


def test_a_compressed_tar_is_refused_with_what_to_do() -> None:
    packed = zlib.compressobj(wbits=31)
    data = packed.compress(header() + b"\0" * 9000) + packed.flush()
    for cut in (data, data[:100]):
        with pytest.raises(SourceError, match=r"compressed with gzip.*Decompress"):
            scan(cut)


@settings(max_examples=150)
@given(st.data())
def test_any_damage_is_survived(data: st.DataObject) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a.jpg", "ü" * 120 + ".json", "b.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 600
            tar.addfile(info, io.BytesIO(bytes(600)))
    damaged = bytearray(out.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, 6000))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BrokenTarError, SourceError):
        scan(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


@pytest.mark.parametrize("fmt", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_seeking_finds_the_same_members(fmt: int) -> None:
    """Without reading data, and within a slice that has no end marker."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=fmt) as tar:
        for name in ("a.jpg", ("k" * 120 if fmt != tarfile.USTAR_FORMAT else "k") + ".json", "b.txt"):
            info = tarfile.TarInfo(name)
            info.size = 700
            tar.addfile(info, io.BytesIO(bytes(700)))
    read = list(TarReader(io.BytesIO(data.getvalue()), "x").members())
    assert list(TarReader(io.BytesIO(data.getvalue()), "x", seek=True).members()) == read
    assert [member.start for member in read] == [0, *(member.offset + 1024 for member in read[:-1])]
    piece = io.BytesIO(data.getvalue()[: read[1].start])
    assert list(TarReader(piece, "x", seek=True, end=read[1].start).members()) == read[:1]


@pytest.mark.parametrize(
    ("name", "parts"),
    [("a/b.c.JPG", ("a/b", "c.jpg")), ("a.b/c.txt", ("a.b/c", "txt")), ("plain", None), ("__meta__/x.json", None)],
)
def test_names_are_split_as_webdataset_does(name: str, parts: tuple[str, str] | None) -> None:
    assert split_name(name) == parts
