"""Format, end and metadata of image files, read from their bytes. `tests/test_decode.py` compares them with Pillow."""

from __future__ import annotations

import io
import struct

import pytest
from mutated_images import encoded, exif, originals, picture
from PIL import Image

from recaption.imagefile import (
    SOURCE_SUFFIXES,
    STORED_SUFFIXES,
    ends_well,
    exif_of,
    jpeg_segments,
    plain_jpeg,
    png_metadata,
    sniff,
    without_exif,
)

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


@pytest.mark.parametrize("kind", FORMATS)
def test_the_format_follows_from_the_first_bytes(kind: str) -> None:
    assert sniff(encoded(picture(), kind)[:64]) == kind


@pytest.mark.parametrize(
    ("brands", "kind"),
    [
        (b"avif\0\0\0\0mif1", "AVIF"),
        (b"heic\0\0\0\0mif1", "HEIF"),
        (b"mif1\0\0\0\0heic", "HEIF"),
        (b"mif1\0\0\0\0avif", "AVIF"),
        (b"isom\0\0\0\0mp42", None),
    ],
)
def test_the_brands_of_the_container_tell_avif_heic_and_video_apart(brands: bytes, kind: str | None) -> None:
    assert sniff((16 + 4).to_bytes(4, "big") + b"ftyp" + brands) == kind


@pytest.mark.parametrize("data", [b"", b"<html>", b"%PDF-1.7", b"RIFF\0\0\0\0WAVE", b"\0" * 64])
def test_other_bytes_have_no_format(data: bytes) -> None:
    assert sniff(data) is None


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_file_does_not_reach_its_end(kind: str) -> None:
    data = encoded(picture(), kind)
    assert ends_well(kind, data)
    assert not ends_well(kind, data[: len(data) // 2])


def bmp_core(pixels: bytes) -> bytes:
    """A BMP of 16 x 16 px with the header of OS/2."""
    return b"BM" + struct.pack("<IHHI", 26 + len(pixels), 0, 0, 26) + struct.pack("<IHHHH", 12, 16, 16, 1, 24) + pixels


def bmp_run_length(runs: bytes) -> bytes:
    """A BMP of 16 x 16 px with 256 grey levels, run-length encoded."""
    header = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 8, 1, len(runs), 0, 0, 256, 0)
    palette = b"".join(bytes((level, level, level, 0)) for level in range(256))
    return b"BM" + struct.pack("<IHHI", 1078 + len(runs), 0, 0, 1078) + header + palette + runs


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("BMP", bmp_core(bytes(16 * 48))),
        ("BMP", bmp_run_length(b"\x10\x05\0\0" * 16 + b"\0\1")),
        ("TIFF", encoded(picture(), "TIFF", big_tiff=True)),
        ("TIFF", encoded(picture(), "TIFF", compression="jpeg")),
        ("TIFF", encoded(picture(), "TIFF", compression="tiff_lzw")),
    ],
    ids=["os2", "rle8", "bigtiff", "tiff-jpeg", "tiff-lzw"],
)
def test_the_last_byte_of_variants_is_known(kind: str, data: bytes) -> None:
    assert ends_well(kind, data)
    assert not ends_well(kind, data[:-1])


def test_a_plain_jpeg_has_the_pixels_and_no_metadata() -> None:
    data = encoded(picture(), "JPEG", exif=exif(6), comment=b"a comment", icc_profile=b"profile")
    plain = plain_jpeg(data)
    assert {marker for marker, _, _ in jpeg_segments(plain)} & {0xE1, 0xE2, 0xFE} == set()
    assert Image.open(io.BytesIO(plain)).tobytes() == Image.open(io.BytesIO(data)).tobytes()


def test_a_jpeg_without_exif_keeps_its_other_segments() -> None:
    data = encoded(picture(), "JPEG", exif=exif(6), comment=b"a comment")
    kept = without_exif(data)
    assert exif_of(data) is not None and exif_of(kept) is None
    assert b"a comment" in kept
    assert without_exif(kept) == kept


def test_exif_of_a_png_gives_its_orientation() -> None:
    assert png_metadata(encoded(picture(), "PNG", exif=exif(6))).orientation == 6
    assert png_metadata(encoded(picture(), "PNG")).orientation is None


def test_suffixes_cover_all_stored_formats() -> None:
    assert set(STORED_SUFFIXES.values()) <= set(SOURCE_SUFFIXES)
    assert {sniff(data) for data in originals().values()} >= {"JPEG", "PNG", "WEBP"}
