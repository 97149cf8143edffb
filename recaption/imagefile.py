"""Reads the format, the end and the orientation of an image file from its bytes, without a decoder.

This module never rejects a file. Pillow decides that (`recaption.decode`), even if the structure is invalid.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

SOURCE_SUFFIXES: Final = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "avif", "heic", "heif")
LOADED_SUFFIXES: Final = SOURCE_SUFFIXES[:4]  # of tars that the loader reads, in this order if a sample has several
STORED_SUFFIXES: Final = {"jpeg": "jpg", "png": "png", "webp": "webp"}  # by format, of images that recaption writes

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_TIFF: Final = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")  # as PIL.TiffImagePlugin.PREFIXES
_HEIF: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs")
_CONTAINER: Final = (b"mif1", b"msf1")  # major brands that do not give the codec
_SOS: Final = 0xDA
_EXIF: Final = b"Exif\0\0"
_IEND: Final = b"\0\0\0\0IEND\xaeB`\x82"
_ORIENTATION: Final = 0x0112
_X_RESOLUTION: Final = 0x011A
_PLAIN: Final = (5, 1)  # one RATIONAL
_INTEGERS: Final = {3: "H", 4: "I", 8: "h", 9: "i"}  # EXIF field types SHORT, LONG, SSHORT, SLONG
_NUMBERS: Final = {**_INTEGERS, 5: "II", 6: "b", 10: "ii", 11: "f", 12: "d", 13: "I", 16: "Q"}  # as Pillow reads them
_LENGTHS: Final = {3: "H", 4: "I", 16: "Q"}  # types of the places and sizes of strips and tiles
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # bytes


def sniff(data: bytes) -> str | None:
    """The format by the first bytes: JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF or HEIF; None for anything else."""
    if data.startswith(JPEG):
        return "JPEG"
    if data.startswith(PNG):
        return "PNG"
    if data[:4] == b"RIFF" and (data[8:12] == b"WEBP" or (len(data) < 12 and b"WEBP".startswith(data[8:]))):
        return "WEBP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:2] == b"BM":
        return "BMP"
    if data[:4] in _TIFF:
        return "TIFF"
    return _isobmff(data) if data[4:8] == b"ftyp" else None


def _isobmff(data: bytes) -> str | None:
    """The format by the brands of the `ftyp` box (ISO/IEC 14496-12, 4.3; 23008-12, annex B; av1-avif, section 6)."""
    major = data[8:12]
    if major in (b"avif", b"avis"):
        return "AVIF"
    if major in _HEIF:
        return "HEIF"
    if major not in _CONTAINER:
        return None
    end = min(int.from_bytes(data[:4], "big"), 16 + 4 * 64, len(data))
    compatible = {data[at : at + 4] for at in range(16, end - 3, 4)}
    if not compatible & {b"avif", b"avis"}:
        return "HEIF"
    # With brands of both, the type of the coded items decides; they are listed before the pixels.
    return "HEIF" if compatible & {*_HEIF} and b"av01" not in data.partition(b"mdat")[0] else "AVIF"


def ends_well(kind: str, data: bytes) -> bool:
    """Whether the file reaches the end that its own structure gives; True if the structure does not give one.

    Pillow loads some files for which this is False.
    """
    if kind == "JPEG":
        scan = next((start for marker, start, _ in jpeg_segments(data) if marker == _SOS), None)
        return scan is not None and data.rfind(b"\xff\xd9") > scan
    if kind == "PNG":
        return any(name == b"IEND" for name, _, _ in _png_chunks(data))
    if kind == "WEBP":  # RIFF: the size of all that follows (developers.google.com/speed/webp/docs/riff_container)
        return len(data) >= 12 and 8 + struct.unpack_from("<I", data, 4)[0] <= len(data)
    if kind == "GIF":  # a trailer byte (GIF89a, section 27), which some writers pad
        return data[-64:].rstrip(b"\0").endswith(b";")
    if kind == "BMP":
        return _bmp_end(data) <= len(data)
    if kind == "TIFF":
        return _tiff_end(data) <= len(data)
    if kind in ("AVIF", "HEIF"):
        return _boxes_end(data) <= len(data)
    return True


def _bmp_end(data: bytes) -> int:
    """Where the pixels of a BMP end; 0 if unknown (BITMAPINFOHEADER, and OS/2's BITMAPCOREHEADER of 12 bytes).

    Rows are padded to four bytes; the header gives the size of pixels that are run-length encoded.
    """
    if len(data) < 38:
        return 0
    first, header = struct.unpack_from("<II", data, 10)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression, size = 0, 0
    elif header >= 40:
        width, height, _, bits, compression, size = struct.unpack_from("<iiHHII", data, 18)
    else:
        return 0
    if compression in (0, 3):
        size = (abs(width) * bits + 31) // 32 * 4 * abs(height)
    return int(first + size) if size else 0


def _tiff_end(data: bytes) -> int:
    """Where the first image of a TIFF ends: its directory, the values of its fields, its strips or tiles.

    0 if unknown (TIFF 6.0, sections 2 and 8; BigTIFF has counts and places of 8 bytes).
    """
    if data[:4] not in _TIFF or len(data) < 16:
        return 0
    order, big = "<" if data[:2] == b"II" else ">", 43 in data[2:4]
    inline, place_form = (8, f"{order}Q") if big else (4, f"{order}I")
    entry, number, after = (f"{order}HHQ", f"{order}Q", 8) if big else (f"{order}HHI", f"{order}H", 2)
    numbers: dict[int, tuple[int, ...]] = {}
    try:
        (at,) = struct.unpack_from(place_form, data, 8 if big else 4)
        end = at + after
        (count,) = struct.unpack_from(number, data, at)
        step = struct.calcsize(entry) + inline
        for position in range(at + after, min(at + after + step * count, len(data)), step):
            tag, kind, values = struct.unpack_from(entry, data, position)
            place, size = position + step - inline, _SIZES.get(kind, 0) * values
            if size > inline:
                (place,) = struct.unpack_from(place_form, data, place)
            end = max(end, place + size)
            if tag in (273, 279, 324, 325) and kind in _LENGTHS and place + size <= len(data):
                numbers[tag] = struct.unpack_from(f"{order}{values}{_LENGTHS[kind]}", data, place)
    except struct.error:  # the directory ends early
        return len(data) + 1
    for starts, sizes in ((273, 279), (324, 325)):
        end = max([end, *map(sum, zip(numbers.get(starts, ()), numbers.get(sizes, ()), strict=False))])
    return int(end)


def _boxes_end(data: bytes) -> int:
    """Where the boxes of a file end by their sizes, which count themselves (ISO/IEC 14496-12, section 4.2)."""
    at = 0
    while at + 8 <= len(data):
        size, header = int.from_bytes(data[at : at + 4], "big"), 8
        if size == 1:  # a 64-bit size after the name
            size, header = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if size == 0:  # up to the end of the file
            return len(data)
        at += max(size, header)
    return at if at >= len(data) else at + 8  # a header that is cut off


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of the segments that have a length, up to the first scan's, as Pillow finds them.

    A segment is ff, a marker, and a big-endian length that counts itself (ITU-T T.81, annex B). Bytes between segments
    are skipped, as Pillow and libjpeg do (PIL.JpegImagePlugin.JpegImageFile._open). Ends early at a broken segment.
    """
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0 or marker == 0xC8 or 0xD0 <= marker <= 0xD9 or 0xF0 <= marker <= 0xFD:
            at += 2  # an escaped ff, or a marker that Pillow treats as one without a length
        elif marker < 0xC0:
            return
        else:
            end = at + 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
            if end > len(data):
                return
            yield marker, at, end
            if marker == _SOS:
                return
            at = end


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of the content of each whole chunk, up to IEND's (PNG specification, section 5.3)."""
    at = len(PNG)
    while at + 12 <= len(data):  # length, name, content, checksum
        length, name = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            return
        yield name, at + 8, at + 8 + length
        if name == b"IEND":
            return
        at += 12 + length


def plain_jpeg(data: bytes) -> bytes:
    """The JPEG without segments that do not affect pixels: EXIF, colour profiles, thumbnails, comments.

    Keeps the application segments JFIF (e0) and Adobe (ee, which gives the colour transform).
    """
    return _without(
        data,
        [
            (start, end)
            for marker, start, end in jpeg_segments(data)
            if 0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)
        ],
    )


def without_exif(data: bytes) -> bytes:
    """The JPEG without its EXIF. Pillow parses EXIF when it opens a file: slowly, and with warnings if EXIF is damaged.

    Pillow reads the resolution from EXIF and refuses a file whose resolution has an unusual type: such EXIF is kept.
    """
    exif = exif_of(data)
    forms = {tag: (kind, count) for tag, kind, count, _ in _exif_directory(exif or b"")}
    if exif is None or forms.get(_X_RESOLUTION, _PLAIN) != _PLAIN:
        return data
    return _without(data, list(_jpeg_exif(data)))


def _without(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    if not spans:
        return data
    view, at, kept = memoryview(data), 0, []
    for start, end in spans:
        kept.append(view[at:start])
        at = end
    made = b"".join([*kept, view[at:]])
    # Pillow requires a marker after the first one: if other bytes follow, insert an empty comment before them.
    return made if made.startswith(JPEG) else made[:2] + b"\xff\xfe\0\2" + made[2:]


def _jpeg_exif(data: bytes) -> Iterator[tuple[int, int]]:
    """Where the EXIF segments are."""
    for marker, start, end in jpeg_segments(data):
        if marker == 0xE1 and data.startswith(_EXIF, start + 4):
            yield start, end


def exif_of(jpeg: bytes) -> bytes | None:
    """The EXIF block of a JPEG, which begins with a TIFF header, or None. Pillow joins several segments."""
    return b"".join(jpeg[start + 4 + len(_EXIF) : end] for start, end in _jpeg_exif(jpeg)) or None


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """EXIF and XMP of an image file; None if absent."""

    exif: bytes | None = None
    xmp: bytes | str | None = None

    @property
    def orientation(self) -> int | None:
        """The orientation that `PIL.ImageOps.exif_transpose` applies, 2 to 8; None if it leaves the image as it is.

        XMP counts only if EXIF has no orientation (PIL.Image.Image.getexif); a field with the value 1 is an
        orientation.
        """
        found = _exif_orientation(self.exif) if self.exif else None
        if found is None and isinstance(self.xmp, bytes | str):
            found = _xmp_orientation(self.xmp)
        return found if found is not None and 2 <= found <= 8 else None


def png_metadata(data: bytes) -> Metadata:
    """EXIF and XMP of a PNG, at any position. Pillow reads them from a file that has no other chunks.

    EXIF is in its own chunk or, in older files, in ImageMagick's text chunk of hex digits.
    """
    from PIL.PngImagePlugin import PngImageFile

    kept: list[bytes] = []
    animated = behind = False
    for name, start, end in _png_chunks(data):
        animated, behind = animated or name == b"acTL", behind or name == b"IDAT"
        if name == b"fcTL" and animated and behind:
            break  # the second frame: Pillow reads no further for the first
        if name in (b"eXIf", b"tEXt", b"zTXt", b"iTXt") or (name == b"IHDR" and not kept):
            checked = data[start - 4 : end]
            kept += [struct.pack(">I", end - start), checked, struct.pack(">I", zlib.crc32(checked))]
    info: dict[Any, Any] = {}
    if len(kept) > 3:
        with suppress(Exception), PngImageFile(io.BytesIO(b"".join([PNG, *kept, _IEND]))) as image:
            info = image.info
    exif, profile = info.get("exif"), info.get("Raw profile type exif")
    if exif is None and profile is not None:
        exif = _raw_profile(profile)
    return Metadata(exif=exif, xmp=info.get("XML:com.adobe.xmp") or info.get("xmp"))


def _raw_profile(text: str) -> bytes | None:
    """EXIF as ImageMagick writes it into older PNGs: a name, a length, and hex digits."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return None


def _exif_orientation(exif: bytes) -> int | None:
    """The number in the field as Pillow reads it; 0 if it is not a whole number, None if there is no field.

    The first of several fields counts, and the first of several values. A field of an unknown type is skipped, and the
    directory ends at a value that is outside of the block (PIL.TiffImagePlugin.ImageFileDirectory_v2.load).
    """
    while exif.startswith(_EXIF):
        exif = exif[len(_EXIF) :]
    order, taken = "<" if exif[:2] == b"II" else ">", 0
    for tag, kind, count, place in _exif_directory(exif):
        size = _SIZES.get(kind, 0) * count
        if size == 0:
            continue
        if size > 4:
            taken += size
            if taken > len(exif):
                continue
            (place,) = struct.unpack_from(f"{order}I", exif, place)
            if place + size > len(exif):
                return None
        if tag == _ORIENTATION:
            return _whole_number(exif, order, kind, place)
    return None


def _whole_number(exif: bytes, order: str, kind: int, place: int) -> int:
    """The first value of a field, or 0 if it is not a whole number."""
    if kind not in _NUMBERS:
        return 0
    values = struct.unpack_from(order + _NUMBERS[kind], exif, place)
    try:
        number = values[0] / values[1] if len(values) == 2 else values[0]
        return int(number) if number == int(number) else 0
    except (ZeroDivisionError, ValueError, OverflowError):
        return 0


def _xmp_orientation(xmp: bytes | str) -> int | None:
    """The digit of tiff:Orientation in an XMP packet, found as Pillow finds it (PIL.Image.Image.getexif)."""
    if isinstance(xmp, str):
        found: re.Match[Any] | None = re.search(r'tiff:Orientation(="|>)([0-9])', xmp)
    else:
        found = re.search(rb'tiff:Orientation(="|>)([0-9])', xmp)
    return int(found[2]) if found else None


def _exif_directory(exif: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Tag, type, count and place of the value for each field of the first directory, as far as it can be read.

    A TIFF header, then fields of a tag, a type, a count and a value (CIPA DC-008, section 4.6; TIFF 6.0, section 2).
    """
    if exif[:4] not in _TIFF[:4]:
        return
    order = "<" if exif[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, at)
        for place in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, values, _ = struct.unpack_from(order + "HHII", exif, place)
            yield tag, kind, values, place + 8
    except struct.error:  # it ends early: the fields read so far are kept
        return
