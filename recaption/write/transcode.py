"""Prepares image bytes for a dataset. Formats are recognised by content. A JPEG is changed only if it must be rotated;
other formats are transcoded once. Stored images are upright.
"""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
from dataclasses import dataclass
from typing import Final, Literal

from recaption.errors import ImageError
from recaption.imagefile import STORED_SUFFIXES, jpeg_segments, sniff

ImageMode = Literal["jpeg", "passthrough"]
QUALITY: Final = 95  # of transcoded images; with 4:4:4 chroma, so that thin coloured lines of PNGs are kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """Image bytes as stored in the dataset. `width` and `height` are those of the stored pixels, from the header."""

    data: bytes  # upright
    format: str
    sha256: str
    source_format: str
    source_sha256: str
    width: int | None
    height: int | None

    @property
    def suffix(self) -> str:
        return STORED_SUFFIXES[self.format]


def recognise(data: bytes) -> str | None:
    """The image format by the first bytes, in lower case; None if they are not an image."""
    kind = sniff(data)
    return kind.lower() if kind else None


def store_image(
    data: bytes, sha256: str, mode: ImageMode, *, key: str, shard: str, orientation: int | None = None
) -> Stored:
    """The bytes to store for an image with the source bytes `data`. `sha256` is their hash, which
    `Source.read` has checked; hashing again would take a sixth of the time of writing a sample.

    mode jpeg: JPEG is kept unchanged, anything else becomes JPEG (quality 95, RGB, transparency over white).
    mode passthrough: JPEG, PNG and WebP are kept unchanged, anything else becomes JPEG.
    An image with an EXIF `orientation` (2 to 8) is rotated upright and becomes JPEG in both modes.
    Raises ImageError: `missing_image`, or an error of `recaption.decode.decode_whole`.
    """
    if not data:
        raise ImageError("missing_image", "the source no longer has its bytes", key=key, shard=shard)
    source = recognise(data)
    if source is None:
        raise ImageError("undecodable", f"not an image: begins with {data[:8]!r}", key=key, shard=shard)
    if orientation is None and (source == "jpeg" or (mode == "passthrough" and source in STORED_SUFFIXES)):
        made, format, made_sha256 = data, source, sha256
        width, height = _size(data)
    else:
        try:
            made, (width, height) = _transcode(data, orientation)
        except ImageError as error:
            raise ImageError(error.reason, error.args[0], key=key, shard=shard) from error
        except Exception as error:  # Pillow's encoder raises many types
            what = f"{source}: {type(error).__name__}: {error}"
            raise ImageError("undecodable", what, key=key, shard=shard) from error
        format, made_sha256 = "jpeg", hashlib.sha256(made).hexdigest()
    return Stored(
        data=made,
        format=format,
        sha256=made_sha256,
        source_format=source,
        source_sha256=sha256,
        width=width,
        height=height,
    )


def _size(data: bytes) -> tuple[int, int] | tuple[None, None]:
    """Width and height from the header, without decoding; (None, None) if the header is broken."""
    from PIL import Image as Pil

    if (size := _jpeg_size(data)) is not None:
        return size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # decompression bombs: limits were checked before
            with Pil.open(io.BytesIO(data)) as image:
                return image.size
    except Exception:  # noqa: BLE001 - as in transcoding; the bytes are stored even if the header is broken
        return None, None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG from its frame header (ITU-T T.81, B.2.2); None if there is none before the scan.

    Pillow also reads the other tables, which takes 0.15 ms per image, as long as writing its JSON.
    """
    for marker, start, _ in jpeg_segments(data) if data[:2] == b"\xff\xd8" else ():
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(data) >= start + 9:
            height, width = struct.unpack_from(">HH", data, start + 5)
            return (width, height) if width and height else None
    return None


def _transcode(data: bytes, orientation: int | None) -> tuple[bytes, tuple[int, int]]:
    from recaption.decode import decode_whole

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # e.g. palette transparency as bytes, which decode_whole handles
        image, profile = decode_whole(data, orientation)
    out = io.BytesIO()
    options = {"icc_profile": profile} if profile else {}
    image.save(out, "JPEG", quality=QUALITY, subsampling=0, exif=b"", **options)
    return out.getvalue(), image.size
