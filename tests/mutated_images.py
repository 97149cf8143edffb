"""Image files of every format that is taken, damaged in ways that happen, and Pillow's own verdict on them."""

from __future__ import annotations

import io
import random
import struct
import warnings
from collections.abc import Iterator
from functools import cache
from typing import Any

from PIL import Image, ImageDraw, UnidentifiedImageError, features

from recaption.decode import supported
from recaption.imagefile import jpeg_segments

MOST = 1_000_000  # pixels; of a mutated header that claims more nothing is decoded
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")


def picture(size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    """Some texture and two plain rectangles."""
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, size[0] // 2, size[1] // 2), fill=(220, 30, 40))
    pen.rectangle((size[0] // 2, 0, size[0], size[1] // 2), fill=(30, 60, 200))
    return image.convert(mode)


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def exif(orientation: int | None = None) -> Image.Exif:
    """Like a phone's: a maker, a resolution and, if given, an orientation."""
    made = Image.Exif()
    made[0x010F] = "Maker of cameras"
    if orientation is not None:
        made[0x0112] = orientation
    made[0x011A], made[0x011B], made[0x0128] = 72.0, 72.0, 2
    return made


def without_jfif(data: bytes) -> bytes:
    """As phones write them: EXIF comes first, and so Pillow takes the resolution from it."""
    _, start, end = next(jpeg_segments(data))
    assert data[start + 1] == 0xE0
    return data[:start] + data[end:]


@cache
def originals() -> dict[str, bytes]:
    """Undamaged files by name."""
    rgb, other = picture(), picture((48, 64))
    made = {
        "jpeg": encoded(rgb, "JPEG"),
        "jpeg progressive": encoded(rgb, "JPEG", progressive=True, comment="a comment"),
        "jpeg grey": encoded(rgb.convert("L"), "JPEG"),
        "jpeg cmyk": encoded(rgb.convert("CMYK"), "JPEG"),
        "jpeg restarts": encoded(rgb, "JPEG", restart_marker_blocks=2),
        "jpeg profile": encoded(rgb, "JPEG", icc_profile=bytes(range(200)), dpi=(72, 72)),
        "jpeg exif": encoded(rgb, "JPEG", exif=exif(6)),
        "jpeg phone": without_jfif(encoded(rgb, "JPEG", exif=exif(6))),
        "mpo": encoded(rgb, "MPO", save_all=True, append_images=[other]),
        "png": encoded(rgb, "PNG"),
        "png exif": encoded(rgb, "PNG", exif=exif(3), dpi=(72, 72)),
        "png grey": encoded(rgb.convert("L"), "PNG"),
        "png palette": encoded(rgb.convert("P"), "PNG", transparency=bytes([0, 128, 255])),
        "png alpha": encoded(rgb.convert("RGBA"), "PNG"),
        "png 16": encoded(Image.new("I;16", (16, 16), 4000), "PNG"),
        "png key": encoded(rgb, "PNG", transparency=(1, 2, 3)),
        "apng": encoded(rgb, "PNG", save_all=True, append_images=[rgb.rotate(90)]),
        "webp": encoded(rgb, "WEBP"),
        "webp lossless": encoded(rgb.convert("RGBA"), "WEBP", lossless=True),
        "webp exif": encoded(rgb, "WEBP", exif=exif(8)),
        "webp moving": encoded(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]),
        "gif": encoded(rgb.convert("P"), "GIF"),
        "gif moving": encoded(rgb.convert("P"), "GIF", save_all=True, append_images=[rgb.rotate(90)], transparency=3),
        "bmp": encoded(rgb, "BMP"),
        "bmp palette": encoded(rgb.convert("P"), "BMP"),
        "tiff": encoded(rgb, "TIFF"),
        "tiff lzw": encoded(rgb, "TIFF", compression="tiff_lzw", exif=exif(6)),
        "tiff jpeg": encoded(rgb, "TIFF", compression="jpeg"),
        "tiff float": encoded(rgb.convert("F"), "TIFF"),
        "big tiff": encoded(rgb, "TIFF", big_tiff=True),
    }
    if features.check("avif"):
        made["avif"] = encoded(rgb, "AVIF")
        made["avif turned"] = encoded(rgb, "AVIF", exif=exif(6))
    if supported("HEIF"):
        from pillow_heif import register_heif_opener

        register_heif_opener()
        made["heif"] = encoded(rgb, "HEIF")
        made["heif turned"] = encoded(rgb, "HEIF", exif=exif(6).tobytes())  # as bytes it becomes `irot`
    return made


def mutated(seed: int) -> tuple[str, bytes]:
    """What was done to which file, and the result; the same for the same seed."""
    chance = random.Random(seed)
    name = chance.choice(sorted(originals()))
    data = originals()[name]
    what = []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if len(data) < 32:
            break
        mutate = chance.choice(_MUTATIONS)
        data = mutate(data, chance)
        what.append(mutate.__name__.strip("_"))
    return f"{seed}: {name}, {', '.join(what)}", data


def verdict(data: bytes) -> str | None:
    """None where Pillow loads the file as trainers do, else why it does not; "large" above `MOST` pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=[f for f in _FORMATS if f in _known()]) as image:
                if image.width * image.height > MOST:
                    return "large"
                image.load()
                image.convert("RGB")
        except (MemoryError, RecursionError):
            raise
        except UnidentifiedImageError:
            return "no image"
        except Exception as error:  # noqa: BLE001 - decoders raise anything
            return f"{type(error).__name__}: {error}"
    return None


@cache
def _known() -> frozenset[str]:
    Image.init()
    if supported("HEIF"):
        import pillow_heif

        pillow_heif.register_heif_opener()
    return frozenset(Image.OPEN)


def _flip(data: bytes, chance: random.Random) -> bytes:
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        # headers are where it matters: half of them there
        at = chance.randrange(min(len(made), 700)) if chance.random() < 0.5 else chance.randrange(len(made))
        made[at] = chance.choice((0, 0xFF, chance.randrange(256), made[at] ^ (1 << chance.randrange(8))))
    return bytes(made)


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.choice((len(data) - chance.randrange(1, 16), chance.randrange(1, len(data))))]


def _zero_tail(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(1, len(data))
    return data[:at] + bytes(len(data) - at)


def _insert(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.randbytes(chance.choice((1, 2, 7, 40))) + data[at:]


def _remove(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at + chance.choice((1, 2, 12, 100)) :]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + data[at : at + chance.randrange(1, 60)] + data[at:]


def _append(data: bytes, chance: random.Random) -> bytes:
    return data + chance.choice((b"\0" * 20, b"\n", chance.randbytes(50), data, b"\xff\xd9"))


def _junk_between(data: bytes, chance: random.Random) -> bytes:
    """In a JPEG between two segments or before its end, elsewhere anywhere."""
    places = [end for _, _, end in jpeg_segments(data)][:-1] or [len(data)]
    if data[:2] != b"\xff\xd8":
        return _insert(data, chance)
    junk = chance.choice((b"\0", b"\xff", b"\xff\0\xff\0", b"\x11\x22\x33", b"\xff\xff", b"\xff\x01", bytes(30)))
    at = chance.choice([*places, max(2, len(data) - 2)])
    return data[:at] + junk + data[at:]


def _size_field(data: bytes, chance: random.Random) -> bytes:
    """A number of the file's structure that is wrong."""
    at = chance.randrange(min(len(data) - 4, 200))
    number = chance.choice((0, 1, 2, 7, 0x7FFF, 0xFFFF))
    return data[:at] + struct.pack(chance.choice(("<H", ">H")), number) + data[at + 2 :]


_MUTATIONS = (_flip, _flip, _flip, _cut, _zero_tail, _insert, _remove, _repeat, _append, _junk_between, _size_field)


def seeds(first: int, count: int) -> Iterator[tuple[str, bytes]]:
    """Mutated files, one for each seed."""
    return (mutated(seed) for seed in range(first, first + count))
