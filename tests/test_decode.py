"""recaption.decode: supported files, rejected files with their reasons, and no other error than ImageError."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mutated_images import MOST, exif, originals, seeds, verdict
from PIL import Image, ImageChops, ImageDraw, ImageOps, ImageStat, features

from recaption import decode as module
from recaption.decode import (
    FORMATS,
    Decoder,
    ImageInfo,
    check_header,
    check_pixels,
    crop_pixels,
    decode,
    decode_whole,
    supported,
    to_rgb,
    upright_size,
)
from recaption.errors import ImageError, RequestError
from recaption.imagefile import Metadata, ends_well, jpeg_segments, sniff
from recaption.types import REASONS, ImageLimits

LIMITS = ImageLimits(min_side=8, max_pixels=100_000_000, max_aspect=20)


def picture(size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    """Colours in three quarters and some texture, so that files have several hundred bytes of pixels."""
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, size[0] // 2, size[1] // 2), fill=(220, 30, 40))
    pen.rectangle((size[0] // 2, 0, size[0], size[1] // 2), fill=(30, 60, 200))
    return image.convert(mode)


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def reason_of(data: bytes, limits: ImageLimits = LIMITS, call: Any = decode) -> str:
    with pytest.raises(ImageError) as caught:
        call(data, limits)
    assert caught.value.reason in REASONS
    return caught.value.reason


def size_of(info: ImageInfo) -> tuple[int, int]:
    return upright_size(info.width, info.height, info.orientation)


def png_claiming(width: int, height: int) -> bytes:
    """A whole PNG whose header claims a size and whose pixels are a few bytes."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


SAVED = {
    "JPEG": encode(picture(), "JPEG"),
    "JPEG progressive": encode(picture(), "JPEG", progressive=True),
    "PNG": encode(picture(), "PNG"),
    "WEBP": encode(picture(), "WEBP"),
    "WEBP lossless": encode(picture(), "WEBP", lossless=True),
    "GIF": encode(picture(mode="P"), "GIF"),
    "BMP": encode(picture(), "BMP"),
    "TIFF": encode(picture(), "TIFF"),
}


@pytest.mark.parametrize("name", SAVED)
def test_every_format_is_decoded_and_its_header_read(name: str) -> None:
    info = check_header(SAVED[name], LIMITS)
    assert (info.format, info.width, info.height) == (name.split()[0], 64, 48)
    image = decode(SAVED[name], LIMITS)
    assert (image.mode, image.size) == ("RGB", (64, 48))
    red, green, blue = image.getpixel((8, 8))
    assert red > 180 and green < 80 and blue < 90


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_an_avif_is_decoded_and_a_cut_one_rejected() -> None:
    data = encode(picture(), "AVIF")
    assert check_header(data, LIMITS).format == "AVIF"
    assert decode(data, LIMITS).size == (64, 48)
    assert reason_of(data[: len(data) // 2]) in ("truncated", "undecodable")


def with_brands(data: bytes, major: bytes, compatible: tuple[bytes, ...]) -> bytes:
    """The AVIF or HEIF with other brands: a `ftyp` box of the same size, so that no offset moves."""
    size = int.from_bytes(data[:4], "big")
    listed = [*compatible, *[compatible[-1]] * 64][: (size - 16) // 4]
    return data[:8] + major + bytes(4) + b"".join(listed) + data[size:]


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
@pytest.mark.parametrize(
    "compatible", [(b"mif1", b"avif", b"miaf"), (b"avif",), (b"mif1", b"heic", b"avif")], ids=["usual", "one", "both"]
)
def test_avif_in_a_plain_container(compatible: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = encode(picture(), "AVIF", exif=exif(6))
    data = with_brands(plain, b"mif1", compatible)
    assert data != plain and sniff(data) == "AVIF"
    assert check_header(data, LIMITS) == check_header(plain, LIMITS)
    assert decode(data, LIMITS).tobytes() == decode(plain, LIMITS).tobytes()
    assert_upright_as_pillow_has_it(data)
    assert reason_of(data[: len(data) // 2], call=check_header) == "truncated"
    monkeypatch.setattr("PIL.AvifImagePlugin.SUPPORTED", False)
    with pytest.raises(
        ImageError, match=r"the image is AVIF, which needs the extra heif: pip install 'recaption\[heif\]'"
    ):
        check_header(data, LIMITS)


@pytest.mark.skipif(not supported("HEIF"), reason="the extra heif is not installed")
@pytest.mark.parametrize(
    "compatible", [(b"mif1", b"heic"), (b"mif1",), (b"heic", b"avif")], ids=["usual", "one", "both"]
)
def test_heic_in_a_plain_container(compatible: tuple[bytes, ...]) -> None:
    data = with_brands(originals()["heif"], b"mif1", compatible)
    assert sniff(data) == "HEIF"
    assert decode(data, LIMITS).tobytes() == decode(originals()["heif"], LIMITS).tobytes()


def test_info_is_of_the_stored_image() -> None:
    data = encode(picture((640, 480), "L"), "JPEG")
    assert check_header(data, LIMITS) == ImageInfo(format="JPEG", width=640, height=480, mode="L")


@pytest.mark.parametrize("name", [name for name in SAVED if name.startswith(("JPEG", "PNG", "WEBP"))])
def test_cut_anywhere_is_truncated_unless_pillow_loads_it(name: str) -> None:
    data = SAVED[name]
    loaded = [cut for cut in range(1, len(data)) if verdict(data[:cut]) is None]
    assert all(cut > len(data) - 30 for cut in loaded)  # the last checksums of a PNG may be missing
    for cut in range(1, len(data)):
        if cut in loaded:
            assert decode(data[:cut], LIMITS).size == size_of(check_header(data[:cut], LIMITS)) == (64, 48)
        else:
            assert reason_of(data[:cut]) == "truncated", cut
    assert reason_of(data[: len(data) // 2], call=check_header) == "truncated"


@pytest.mark.parametrize(
    "junk", [b"\0", b"\xff\0\xff\0", b"\x11\x22\x33\x44\x55\x66\x77", b"\xff\xff\xff", b"\xff\xd0"]
)
@pytest.mark.parametrize("name", ["jpeg", "jpeg progressive", "jpeg exif", "jpeg phone", "mpo"])
def test_junk_between_the_segments_of_a_jpeg_does_not_matter(name: str, junk: bytes) -> None:
    data = originals()[name]
    for _, _, end in list(jpeg_segments(data))[:-1]:
        made = data[:end] + junk + data[end:]
        assert verdict(made) is None
        assert check_header(made, LIMITS) == check_header(data, LIMITS)
        assert decode(made, LIMITS).tobytes() == decode(data, LIMITS).tobytes()


def test_a_jpeg_without_an_end_is_truncated_unless_pillow_loads_it() -> None:
    data = encode(picture((512, 384)), "JPEG", progressive=True)
    assert reason_of(data[:-2], call=check_header) == reason_of(data[:-2]) == "truncated"
    assert reason_of(data[: len(data) * 4 // 5], call=check_header) == "truncated"
    padded = SAVED["JPEG"][:-2] + b"\xff\xd8" + bytes(2000)  # something else follows, where the end should be
    assert (verdict(padded) is None) == (_outcome(check_header, padded) is None) == (_outcome(decode, padded) is None)


def _outcome(call: Any, data: bytes) -> str | None:
    try:
        call(data, ImageLimits(min_side=1, max_pixels=MOST, max_aspect=1e9))
    except ImageError as error:
        return error.reason
    return None


def _disagreements(first: int, count: int) -> list[str]:
    """Mutated files for which the verdicts of Pillow and recaption differ."""
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for what, data in seeds(first, count):
            pillow = verdict(data)
            if pillow == "large":
                continue
            for call in (check_header, check_pixels, decode):
                reason = _outcome(call, data)
                if pillow is None and reason is not None:
                    found.append(f"{what}: {call.__name__} says {reason}, Pillow loads it")
                if pillow is not None and reason is None and call is not check_header:
                    found.append(f"{what}: {call.__name__} takes it, Pillow says {pillow}")
            if pillow is None and _outcome(lambda data, _: decode_whole(data), data) is not None:
                found.append(f"{what}: decode_whole refuses it")
    return found


def test_pillow_decides_about_mutated_files() -> None:
    assert _disagreements(0, 500) == []


@pytest.mark.soak
def test_pillow_decides_about_many_mutated_files() -> None:
    assert _disagreements(10_000, 20_000) == []


@pytest.mark.parametrize("name", ["jpeg exif", "jpeg phone"])
def test_unusual_exif_is_accepted_when_pillow_accepts_it(name: str) -> None:
    data = originals()[name]
    field = struct.pack("<HHI", 0x011A, 5, 1) if b"II*" in data else struct.pack(">HHI", 0x011A, 5, 1)
    order = "<" if field[0] == 0x1A else ">"
    made = data.replace(field, struct.pack(f"{order}HHI", 0x011A, 7, 1))
    made = made.replace(b"JFIF\0\1\1\1", b"JFIF\0\1\1\0")  # no resolution there: Pillow then looks at EXIF's
    assert made != data
    assert verdict(made) is not None
    assert reason_of(made) == "undecodable"


@pytest.mark.parametrize("name", ["gif", "bmp", "tiff", "tiff grey", "tiff lzw", "tiff tiles", "avif", "heif"])
def test_a_cut_of_other_formats_is_found_without_decoding(name: str) -> None:
    if name.upper() in FORMATS and not supported(name.upper()):
        pytest.skip(f"nothing here reads {name}")
    rgb = Image.effect_noise((64, 48), 90).convert("RGB")
    data = {
        "gif": lambda: encode(rgb.convert("P"), "GIF"),
        "bmp": lambda: encode(rgb, "BMP"),
        "tiff": lambda: encode(rgb, "TIFF"),
        "tiff grey": lambda: encode(rgb.convert("I;16B"), "TIFF"),  # big-endian
        "tiff lzw": lambda: encode(rgb, "TIFF", compression="tiff_lzw"),
        "tiff tiles": lambda: tiled_tiff(rgb),
        "avif": lambda: encode(rgb, "AVIF"),
        "heif": lambda: originals()["heif"],
    }[name]()
    assert ends_well(str(sniff(data)), data)
    for share in (0.5, 0.8, 0.99):
        cut = data[: int(len(data) * share)]
        if verdict(cut) is None:
            assert check_header(cut, LIMITS) == check_header(data, LIMITS)
        else:
            assert reason_of(cut, call=check_header) == reason_of(cut) == "truncated"
    assert verdict(data[: len(data) // 2]) is not None


def tiled_tiff(image: Image.Image) -> bytes:
    """Uncompressed, in tiles of 16 x 16, its directory first, as image pyramids are written."""
    across, down = image.width // 16, image.height // 16
    boxes = [(16 * x, 16 * y, 16 * x + 16, 16 * y + 16) for y in range(down) for x in range(across)]
    tiles, size = [image.crop(box).tobytes() for box in boxes], 16 * 16 * 3
    lists = 8 + 2 + 11 * 12 + 4
    first = lists + 6 + 8 * len(tiles)
    fields = [
        (256, 3, 1, image.width), (257, 3, 1, image.height), (258, 3, 3, lists), (259, 3, 1, 1), (262, 3, 1, 2),
        (277, 3, 1, 3), (284, 3, 1, 1), (322, 3, 1, 16), (323, 3, 1, 16),
        (324, 4, len(tiles), lists + 6), (325, 4, len(tiles), lists + 6 + 4 * len(tiles)),
    ]  # fmt: skip
    made = b"II*\0" + struct.pack("<IH", 8, len(fields)) + b"".join(struct.pack("<HHII", *field) for field in fields)
    made += struct.pack("<I3H", 0, 8, 8, 8)
    made += struct.pack(f"<{len(tiles)}I", *(first + size * number for number in range(len(tiles))))
    return made + struct.pack(f"<{len(tiles)}I", *[size] * len(tiles)) + b"".join(tiles)


@pytest.mark.parametrize("name", SAVED)
def test_bytes_after_the_end_do_not_matter(name: str) -> None:
    assert decode(SAVED[name] + b"\0trailing bytes", LIMITS).tobytes() == decode(SAVED[name], LIMITS).tobytes()


def test_no_bytes_is_empty() -> None:
    assert reason_of(b"") == reason_of(b"", call=check_header) == "empty"


@pytest.mark.parametrize(
    "data",
    [
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b"\0" * 1000,
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",  # a format that Pillow would start Ghostscript for
        b"8BPS\0\1" + bytes(100),
        b"\xff\xd8\xff\xe0\0\x10JFIF\0" + b"\xff" * 40 + b"\xff\xda\0\2" + b"\xff\xd9",
    ],
)
def test_bytes_that_are_not_an_image_are_undecodable(data: bytes) -> None:
    assert reason_of(data) == reason_of(data, call=check_header) == "undecodable"


def test_damaged_pixels_of_a_whole_file_are_undecodable() -> None:
    data = bytearray(SAVED["PNG"])
    at = data.index(b"IDAT") + 4
    data[at : at + 40] = b"\x55" * 40
    assert reason_of(bytes(data)) == "undecodable"


@pytest.mark.parametrize(
    ("size", "reason"),
    [((64, 7), "too_small"), ((7, 64), "too_small"), ((400, 19), "extreme_aspect"), ((8, 160), None)],
)
def test_limits_of_sides_pixels_and_aspect(size: tuple[int, int], reason: str | None) -> None:
    data = encode(picture(size), "PNG")
    if reason is None:
        assert decode(data, LIMITS).size == size
    else:
        assert reason_of(data) == reason_of(data, call=check_header) == reason


def test_a_decompression_bomb_is_found_in_the_header_without_a_warning() -> None:
    # Warnings are errors here: Pillow's own would be one from 89 million pixels on.
    for width, height in ((10_001, 10_000), (12_000, 12_000), (50_000, 50_000)):
        assert reason_of(png_claiming(width, height)) == "too_many_pixels"
    info = check_header(png_claiming(9_900, 9_900), LIMITS)
    assert (info.width, info.height) == (9_900, 9_900)
    gif = b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0) + b";"
    assert reason_of(gif) in ("too_many_pixels", "truncated", "undecodable")


def test_a_large_image_within_the_limits_ignores_pillows_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for name in ("JPEG", "PNG"):
        assert decode(SAVED[name], LIMITS).size == (64, 48)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_transparency_is_composited_over_white() -> None:
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    half = Image.new("RGBA", (16, 16), (255, 0, 0, 128))
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    key = Image.new("RGB", (16, 16), (1, 2, 3))
    assert decode(encode(clear, "PNG"), LIMITS).getpixel((3, 3)) == (255, 255, 255)
    assert decode(encode(clear, "WEBP", lossless=True), LIMITS).getpixel((3, 3)) == (255, 255, 255)
    assert decode(encode(half, "PNG"), LIMITS).getpixel((3, 3)) == (255, 127, 127)
    assert decode(encode(clear.convert("LA"), "PNG"), LIMITS).getpixel((3, 3)) == (255, 255, 255)
    assert decode(encode(palette, "PNG", transparency=0), LIMITS).getpixel((3, 3)) == (255, 255, 255)
    assert decode(encode(palette, "PNG", transparency=bytes([255, 0])), LIMITS).getpixel((3, 3)) == (0, 0, 0)
    assert decode(encode(palette, "PNG"), LIMITS).getpixel((3, 3)) == (0, 0, 0)
    assert decode(encode(key, "PNG", transparency=(1, 2, 3)), LIMITS).getpixel((3, 3)) == (255, 255, 255)


def test_other_pixel_modes_become_rgb() -> None:
    cmyk = decode(encode(picture(mode="CMYK"), "JPEG"), LIMITS).getpixel((8, 8))
    assert cmyk[0] > 180 and cmyk[1] < 80
    assert decode(encode(picture(mode="L"), "JPEG"), LIMITS).mode == "RGB"
    assert decode(encode(picture(mode="1"), "PNG"), LIMITS).mode == "RGB"
    wide = Image.new("I;16", (16, 16), 32768)
    assert check_header(encode(wide, "PNG"), LIMITS).mode.startswith("I")
    assert decode(encode(wide, "PNG"), LIMITS).getpixel((0, 0)) in ((127,) * 3, (128,) * 3)
    assert to_rgb(Image.new("I", (4, 4), 200)).getpixel((0, 0)) == (200, 200, 200)
    assert to_rgb(Image.new("F", (4, 4), 90.0)).getpixel((0, 0)) == (90, 90, 90)


def test_of_an_animation_the_first_frame_is_decoded() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "lime", "blue")]
    for name, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})):
        data = encode(frames[0], name, save_all=True, append_images=frames[1:], **options)
        assert decode(data, LIMITS).getpixel((5, 5)) == (255, 0, 0), name


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_orientation_is_read_and_applied_if_given(format: str, orientation: int) -> None:
    if not supported(format):
        pytest.skip(f"this Pillow has no {format}")
    data = encode(picture(), format, exif=exif(orientation), **({} if format in ("JPEG", "TIFF") else {"quality": 100}))
    stored = Image.open(io.BytesIO(data))
    stored.load()  # which turns a TIFF: nothing is left to do then
    expected = ImageOps.exif_transpose(stored).convert("RGB")
    found = check_header(data, LIMITS)
    assert found.orientation == (None if orientation == 1 or format == "TIFF" else orientation)
    assert size_of(found) == expected.size == ((48, 64) if orientation >= 5 else (64, 48))
    assert decode(data, LIMITS).tobytes() == stored.convert("RGB").tobytes()
    assert decode(data, LIMITS, orientation=found.orientation).tobytes() == expected.tobytes()
    assert decode_whole(data, found.orientation)[0].tobytes() == expected.tobytes()
    small = decode(data, LIMITS, max_pixels=300, orientation=found.orientation)
    assert (small.width > small.height) == (expected.width > expected.height)


def xmp(orientation: int, element: bool = False) -> bytes:
    """An XMP packet as Lightroom writes it, with the orientation as an attribute or as an element."""
    attribute = "" if element else f' tiff:Orientation="{orientation}"'
    inside = f"<tiff:Orientation>{orientation}</tiff:Orientation>" if element else ""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/"{attribute}>{inside}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png_text(text: bytes, *, deflated: bool = False, kind: bytes = b"iTXt") -> bytes:
    """A chunk that holds XMP."""
    stored = zlib.compress(text) if deflated else text
    head = {b"iTXt": bytes([deflated, 0]) + b"\0\0", b"zTXt": b"\0", b"tEXt": b""}[kind]
    return png_chunk(kind, b"XML:com.adobe.xmp\0" + head + stored)


def with_metadata(format: str, in_exif: int | None, in_xmp: bytes | None) -> bytes:
    options: dict[str, Any] = {} if in_exif is None else {"exif": exif(in_exif)}
    if format in ("WEBP", "AVIF"):
        options["quality"] = 100
    if format == "MPO":
        options |= {"save_all": True, "append_images": [picture((48, 64))]}
    if in_xmp is None:
        return encode(picture(), format, **options)
    if format == "PNG":
        data = encode(picture(), "PNG", **options)
        return data[:33] + png_text(in_xmp) + data[33:]
    if format == "TIFF":
        options["tiffinfo"] = {700: in_xmp, **({} if in_exif is None else {0x0112: in_exif})}
        options.pop("exif", None)
        return encode(picture(), "TIFF", **options)
    return encode(picture(), format, xmp=in_xmp, **options)


def assert_upright_as_pillow_has_it(data: bytes) -> None:
    """Orientation, size and pixels as `ImageOps.exif_transpose` makes them, which `datasets` and trainers call."""
    with Image.open(io.BytesIO(data)) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    found = check_header(data, LIMITS)
    assert size_of(found) == expected.size
    assert decode(data, LIMITS, orientation=found.orientation).tobytes() == expected.tobytes()
    assert decode_whole(data, found.orientation)[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize("in_xmp", [None, xmp(1), xmp(3), xmp(6), xmp(5, element=True), xmp(9), b"<x:xmpmeta/>"])
@pytest.mark.parametrize("in_exif", [None, 1, 3, 8])
@pytest.mark.parametrize("format", ["JPEG", "MPO", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_orientation_in_exif_and_xmp_is_as_pillow_reads_it(
    format: str, in_exif: int | None, in_xmp: bytes | None
) -> None:
    if format != "MPO" and not supported(format):
        pytest.skip(f"nothing here reads {format}")
    originals()  # registers the writer of HEIF
    data = with_metadata(format, in_exif, in_xmp)
    assert_upright_as_pillow_has_it(data)
    if format in ("JPEG", "MPO", "PNG", "WEBP"):
        stated = in_exif or {xmp(3): 3, xmp(6): 6, xmp(5, element=True): 5}.get(in_xmp or b"", 1)
        assert check_header(data, LIMITS).orientation == (None if stated == 1 else stated)


@pytest.mark.parametrize("kind", [b"iTXt", b"zTXt", b"tEXt"])
def test_xmp_in_each_kind_of_png_text_is_read(kind: bytes) -> None:
    data = SAVED["PNG"]
    for at in (33, len(data) - 12):  # before and behind the pixels
        for deflated in (False, True) if kind == b"iTXt" else (kind == b"zTXt",):
            text = png_text(xmp(6), deflated=deflated, kind=kind)
            made = data[:at] + text + data[at:]
            assert check_header(made, LIMITS).orientation == 6
            assert_upright_as_pillow_has_it(made)
            made = data[:at] + text + png_text(xmp(3)) + data[at:]  # the last one counts
            assert check_header(made, LIMITS).orientation == 3
            assert_upright_as_pillow_has_it(made)
    for broken in (b"", b"XML:com.adobe.xmp", b"XML:com.adobe.xmp\0\1\0\0\0no deflate", b"XML:com.adobe.xmp\0\1\1\0\0"):
        made = data[:33] + png_chunk(b"iTXt", broken) + data[33:]
        assert check_header(made, LIMITS).orientation is None


@settings(max_examples=400)
@given(noise=st.data())
def test_damaged_exif_turns_an_image_as_in_pillow(noise: st.DataObject) -> None:
    block = bytearray(exif(6).tobytes()[6:])
    for _ in range(noise.draw(st.integers(1, 3))):
        at = noise.draw(st.integers(0, len(block) - 1))
        block[at] = noise.draw(st.one_of(st.integers(0, 20), st.integers(0, 255)))
    data = encode(picture(), "PNG")
    made = data[:33] + png_chunk(b"eXIf", bytes(block)) + png_text(xmp(3)) + data[33:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(made)) as image:
            try:
                expected = ImageOps.exif_transpose(image).convert("RGB")
            except Exception:  # noqa: BLE001 - such a file no trainer reads
                return
    found = check_header(made, LIMITS).orientation
    assert decode(made, LIMITS, orientation=found).tobytes() == expected.tobytes(), bytes(block)


@pytest.mark.parametrize("kind", range(1, 17))
@pytest.mark.parametrize("count", [1, 2])
def test_orientation_of_any_type_is_as_pillow_reads_it(kind: int, count: int) -> None:
    forms = {1: "B", 2: "B", 3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"}
    form = "<" + forms.get(kind, "Q") * count
    values = [6 if at % 2 == 0 else 1 for at in range(len(form) - 1)]
    value = struct.pack(form, *values)
    field = struct.pack("<HHI", 0x0112, kind, count) + (value.ljust(4, b"\0") if len(value) <= 4 else b"\x1a\0\0\0")
    block = b"II*\0\x08\0\0\0\1\0" + field + bytes(4) + value
    data = encode(picture(), "PNG")
    made = data[:33] + png_chunk(b"eXIf", block) + data[33:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_upright_as_pillow_has_it(made)


def test_orientation_of_a_png_after_its_pixels_and_of_unusual_exif() -> None:
    block = exif(8).tobytes()
    data = encode(picture(), "PNG", exif=exif(8))
    at = data.index(b"eXIf") - 4
    length = 12 + struct.unpack_from(">I", data, at)[0]
    chunk, rest = data[at : at + length], data[:at] + data[at + length :]
    end = rest.index(b"IEND") - 4
    assert check_header(rest[:end] + chunk + rest[end:], LIMITS).orientation == 8
    order = "<" if b"II*" in block else ">"
    short = struct.pack(f"{order}HHI", 0x0112, 3, 1)
    assert short in block
    for kind, count, expected in ((4, 1, None), (3, 2, None), (2, 1, None), (1, 1, None)):
        made = block.replace(short, struct.pack(f"{order}HHI", 0x0112, kind, count))
        assert Metadata(exif=made).orientation in (expected, 8), (kind, count)
    for cut in range(len(block)):
        assert Metadata(exif=block[:cut]).orientation in (None, 8)
    for value in (0, 9, 65535):
        made = block.replace(short + struct.pack(f"{order}H", 8), short + struct.pack(f"{order}H", value))
        assert made != block and Metadata(exif=made).orientation is None


@pytest.mark.parametrize("deflated", [False, True])
def test_orientation_of_a_png_by_imagemagick(deflated: bool) -> None:
    block, data = exif(6).tobytes(), SAVED["PNG"]

    def with_profile(profile: bytes, at: int) -> bytes:
        content = b"Raw profile type exif\0" + (b"\0" + zlib.compress(profile) if deflated else profile)
        name = b"zTXt" if deflated else b"tEXt"
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return data[:at] + struct.pack(">I", len(content)) + name + content + checksum + data[at:]

    for at in (data.index(b"IDAT") - 4, data.index(b"IEND") - 4):
        made = with_profile(f"\nexif\n{len(block):8}\n{block.hex()}\n".encode(), at)
        assert check_header(made, LIMITS).orientation == 6
        with Image.open(io.BytesIO(made)) as image:
            assert decode(made, LIMITS, orientation=6).size == ImageOps.exif_transpose(image).size == (48, 64)
        for broken in (b"\nexif\n 9\nno digits", b"\xff\xfe", b""):
            assert check_header(with_profile(broken, at), LIMITS).orientation is None


def test_damaged_exif_neither_rejects_the_image_nor_warns() -> None:
    data = encode(picture(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x34" * 20)
    assert decode(data, LIMITS).size == (64, 48)


@pytest.mark.parametrize("name", [name for name in SAVED if name != "GIF"])
def test_pixels_are_what_trainers_read(name: str) -> None:
    assert decode(SAVED[name], LIMITS).tobytes() == Image.open(io.BytesIO(SAVED[name])).convert("RGB").tobytes()


@given(width=st.integers(1, 3000), height=st.integers(1, 3000), budget=st.integers(1, 4_000_000))
def test_fit_stays_within_the_budget_and_keeps_the_shape(width: int, height: int, budget: int) -> None:
    w, h = module._fit(width, height, budget)
    assert w >= 1 and h >= 1 and w * h <= max(budget, 1)
    assert (w, h) == (width, height) or width * height > budget
    assert w <= width and h <= height
    if min(w, h) >= 8:
        assert abs(w / h - width / height) <= 1.3 * max(width, height) / min(width, height) / min(w, h)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_an_image_above_the_pixel_budget_is_scaled_down(format: str) -> None:
    data = encode(picture((1600, 1200)), format)
    image = decode(data, LIMITS, max_pixels=100_000)
    assert 95_000 < image.width * image.height <= 100_000
    assert abs(image.width / image.height - 4 / 3) < 0.02
    red, _, blue = image.getpixel((image.width // 4, image.height // 4))
    assert red > 200 and blue < 60
    assert decode(data, LIMITS, max_pixels=1600 * 1200).size == (1600, 1200)


def test_jpeg_is_decoded_at_reduced_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[tuple[int, int]] = []

    def spy(image: Image.Image) -> Image.Image:
        sizes.append(image.size)
        return to_rgb(image)

    monkeypatch.setattr(module, "to_rgb", spy)
    data = encode(picture((1600, 1200)), "JPEG")
    decode(data, LIMITS, max_pixels=200 * 150)
    decode(data, LIMITS, max_pixels=210 * 160)
    assert sizes == [(200, 150), (400, 300)]  # never below the target


@pytest.mark.parametrize("share", [1.0, 0.5, 0.25, 0.1])
def test_a_share_applies_to_the_pixels_within_the_budget(share: float) -> None:
    data = encode(picture((400, 200)), "PNG")
    for budget, usual in ((None, 400 * 200), (20_000, 20_000), (10**9, 400 * 200)):
        image = decode(data, LIMITS, max_pixels=budget, share=share)
        assert 0.97 * share * usual <= image.width * image.height <= share * usual
        assert image.width / image.height == pytest.approx(2, rel=0.03)
    assert decode(data, LIMITS, share=1e-9).size == (1, 1)


def test_the_decoder_caches_each_share_of_an_image_separately() -> None:
    data = encode(picture((40, 20)), "PNG")
    decoder = Decoder(LIMITS, max_pixels=400)
    usual, fewer = decoder.decode(data, "x"), decoder.decode(data, "x", 0.5)
    assert usual.width * usual.height > 300 and fewer.width * fewer.height <= 200
    assert decoder.decode(data, "x", 0.5) is fewer and decoder.decode(data, "x", 1.0) is usual
    assert decoder.decoded == 2


@settings(max_examples=300)
@given(data=st.binary(max_size=400))
def test_random_bytes_raise_only_image_errors(data: bytes) -> None:
    assert reason_of(data) in ("empty", "undecodable", "truncated")


@settings(max_examples=300)
@given(name=st.sampled_from(sorted(SAVED)), noise=st.data())
def test_corrupted_files_give_an_image_or_an_image_error(name: str, noise: st.DataObject) -> None:
    data = bytearray(SAVED[name])
    for _ in range(noise.draw(st.integers(1, 6))):
        at = noise.draw(st.integers(0, len(data) - 1))
        data[at] = noise.draw(st.integers(0, 255))
    cut = noise.draw(st.one_of(st.none(), st.integers(1, len(data))))
    try:
        image = decode(bytes(data[:cut]), ImageLimits(min_side=1, max_pixels=1_000_000), max_pixels=1000)
    except ImageError as error:
        assert error.reason in REASONS
    else:
        assert image.mode == "RGB" and image.width * image.height <= 1000


def test_the_decoder_decodes_an_image_once() -> None:
    decoder = Decoder(LIMITS, keep=2)
    files = {hashlib.sha256(data).hexdigest(): data for data in (SAVED["JPEG"], SAVED["PNG"], SAVED["WEBP"])}
    (a, first), (b, second), (c, third) = files.items()
    assert decoder.decode(first, a) is decoder.decode(first, a)
    assert decoder.decoded == 1
    decoder.decode(second, b)
    decoder.decode(first, a)
    decoder.decode(third, c)  # forgets b, the least recently used
    assert decoder.decoded == 3
    decoder.decode(first, a)
    assert decoder.decoded == 3
    decoder.decode(second, b)
    assert decoder.decoded == 4


def test_the_decoder_caches_errors_and_raises_a_new_one_for_each_caller() -> None:
    decoder = Decoder(LIMITS)
    errors = []
    for _ in range(2):
        with pytest.raises(ImageError) as caught:
            decoder.decode(b"<html>", "a")
        errors.append(caught.value)
    assert decoder.decoded == 1
    assert errors[0] is not errors[1] and errors[0].reason == errors[1].reason == "undecodable"


def test_threads_share_one_decoding() -> None:
    data = encode(picture((800, 600)), "PNG")
    decoder = Decoder(LIMITS)
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(lambda _: decoder.decode(data, "x"), range(64)))
    assert decoder.decoded == 1
    assert all(image is images[0] for image in images)


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_crop_is_a_part_of_the_upright_image(format: str, orientation: int | None) -> None:
    noise = Image.effect_noise((80, 60), 90).convert("RGB")
    data = encode(noise, format)
    upright = decode(data, LIMITS, orientation=orientation)
    width, height = upright.size
    for box in ((0, 0, width, height), (8, 12, 40, 32), (width - 9, height - 8, width, height)):
        crop = (box[0] / width, box[1] / height, box[2] / width, box[3] / height)
        assert crop_pixels(crop, width, height, LIMITS) == box
        part = decode(data, LIMITS, orientation=orientation, crop=crop)
        assert part.size == (box[2] - box[0], box[3] - box[1])
        assert part.tobytes() == upright.crop(box).tobytes()


@pytest.mark.parametrize("orientation", [None, 6])
def test_the_budget_applies_to_the_part_that_a_crop_shows(orientation: int | None) -> None:
    """The part is drawn from a JPEG that was decoded at a reduced size: it still shows the same place."""
    data = encode(picture((1600, 1200)), "JPEG", quality=95)
    upright = decode(data, LIMITS, orientation=orientation)
    width, height = upright.size
    crop = (0.25, 0.25, 0.75, 0.75)
    whole = upright.crop((width // 4, height // 4, 3 * width // 4, 3 * height // 4))
    assert decode(data, LIMITS, 10**6, orientation=orientation, crop=crop).tobytes() == whole.tobytes()
    for budget, share in ((whole.width * whole.height // 64, 1.0), (10**6, 1 / 64)):
        part = decode(data, LIMITS, budget, share, orientation, crop)
        assert part.width * part.height <= whole.width * whole.height // 64
        difference = ImageChops.difference(part, whole.resize(part.size, Image.Resampling.BICUBIC))
        assert ImageStat.Stat(difference).mean < [3.0] * 3


@pytest.mark.parametrize(
    "crop", [(0.5, 0, 0.5, 1), (0, 0.6, 1, 0.4), (-0.1, 0, 1, 1), (0, 0, 1, 1.1), (float("nan"), 0, 1, 1)]
)
def test_what_is_no_box_in_an_image_is_refused(crop: tuple[float, float, float, float]) -> None:
    with pytest.raises(RequestError, match="expected x0, y0, x1, y1"):
        decode(encode(picture(), "PNG"), LIMITS, crop=crop)


def test_a_crop_has_the_limits_of_an_image() -> None:
    data = encode(picture((400, 48)), "PNG")
    with pytest.raises(RequestError, match="has 400 x 5 px: the shorter side must have at least 8"):
        decode(data, LIMITS, crop=(0, 0, 1, 0.1))
    with pytest.raises(RequestError, match="at most 20 x the shorter one"):
        decode(data, LIMITS, crop=(0, 0, 1, 8 / 48))


def test_the_decoder_keeps_the_crops_of_an_image_apart() -> None:
    decoder, data = Decoder(LIMITS), encode(picture(), "PNG")
    crops = [None, (0, 0, 0.5, 0.5), (0.5, 0.5, 1, 1)]
    images = [decoder.decode(data, "1", crop=crop) for crop in (*crops, *crops)]
    assert [image.size for image in images[:3]] == [(64, 48), (32, 24), (32, 24)]
    assert all(images[n] is images[n + 3] for n in range(3)) and decoder.decoded == 3


def test_formats_are_a_closed_list() -> None:
    assert FORMATS == ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
    assert reason_of(encode(picture(), "PPM")) == "undecodable"
