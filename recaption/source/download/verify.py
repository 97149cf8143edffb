"""Are these bytes an image, and all of it? Cheap: no pixel of a whole JPEG, PNG or WebP is decoded."""

from __future__ import annotations

import io
import struct
import warnings
from typing import Final, NamedTuple

from PIL import Image, UnidentifiedImageError

from recaption.source.download.reasons import Failure

SUFFIXES: Final = {
    "JPEG": "jpg",
    "MPO": "jpg",  # a JPEG with further views behind it; every JPEG reader reads the first
    "PNG": "png",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tif",
    "AVIF": "avif",
}
MAX_DECODED_PIXELS: Final = 100_000_000  # larger ones are judged by their header alone


class Header(NamedTuple):
    suffix: str  # of the format, by content
    width: int  # pixels
    height: int


def header(data: bytes) -> Header:
    """Format and size. Raises Failure `not_an_image` or `too_many_pixels`."""
    image = _open(data)
    return Header(SUFFIXES[image.format or ""], image.width, image.height)


def verify(data: bytes) -> Header:
    """As `header`; also raises Failure `truncated` when the image ends too early."""
    image = _open(data)
    head = Header(SUFFIXES[image.format or ""], image.width, image.height)
    if not _has_end(head.suffix, data) and head.width * head.height <= MAX_DECODED_PIXELS:
        try:
            image.load()
        except Exception as error:  # decoders raise a zoo of types on broken data
            raise Failure("truncated", f"{image.format} of {len(data)} bytes: {error}") from error
    return head


def _open(data: bytes) -> Image.Image:
    if not data:
        raise Failure("not_an_image", "empty body")
    Image.init()
    formats = [name for name in SUFFIXES if name in Image.OPEN]  # no PostScript, no PDF: those run programs
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            return Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise Failure("too_many_pixels", str(error)) from error
    except UnidentifiedImageError as error:
        raise Failure("not_an_image", f"{len(data)} bytes, begins with {data[:24]!r}") from error
    except Exception as error:  # a header that starts like an image and then is none
        raise Failure("not_an_image", f"{type(error).__name__}: {error}") from error


def _has_end(suffix: str, data: bytes) -> bool:
    """Whether the format's own end mark is there. False: do not know, decode it."""
    if suffix == "jpg":  # the end mark of an EXIF thumbnail lies before the last start of scan
        return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda")
    if suffix == "png":
        return data.rfind(b"IEND", -4096) > 0
    if suffix == "webp":  # RIFF, size of what follows these 8 bytes
        return len(data) >= 8 + struct.unpack("<I", data[4:8])[0]
    return False
