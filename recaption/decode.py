"""From an image file's bytes to pixels: the one way, for every engine.

What is captioned is what a trainer sees. Trainers read `PIL.Image.open(file).convert("RGB")` (open_clip,
src/open_clip_train/data.py; webdataset, `decode("pilrgb")`; timm, readers), so EXIF orientation is not applied and
colour profiles are ignored. There is one difference: transparency is laid over white, where `convert` would show
whatever colour lies below it; `to_rgb` is also what the writer uses when it transcodes such an image to JPEG.

Pillow's plugins are used one by one and not through `Image.open`: only the formats below are taken, and neither its
process-wide pixel limit nor its decompression bomb warning comes into play, so nothing global is changed and threads
can decode side by side. The limits here are checked on the header, before a pixel is decoded.
"""

from __future__ import annotations

import io
import math
import struct
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass
from importlib import import_module

from PIL import Image, ImageFile

from recaption.errors import ImageError
from recaption.types import ImageLimits, Reason

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PLUGINS = {
    "JPEG": ("JpegImagePlugin", "JpegImageFile"),
    "PNG": ("PngImagePlugin", "PngImageFile"),
    "WEBP": ("WebPImagePlugin", "WebPImageFile"),
    "GIF": ("GifImagePlugin", "GifImageFile"),
    "BMP": ("BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("TiffImagePlugin", "TiffImageFile"),
    "AVIF": ("AvifImagePlugin", "AvifImageFile"),
}
FORMATS = tuple(_PLUGINS)
"""Formats that are taken, by content and never by name. Of an animated file it is the first frame."""

_WARNS = ("GIF", "TIFF")  # plugins that raise Pillow's bomb warning by themselves: held to its level, if lower


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageInfo:
    """What an image file's header says; width and height in pixels as stored."""

    format: str  # one of FORMATS
    width: int
    height: int
    mode: str  # Pillow's name of the pixel layout


def check_header(data: bytes, limits: ImageLimits) -> ImageInfo:
    """Read and judge the header of an image file; no pixel is decoded.

    Raises ImageError: empty, undecodable, truncated, too_small, too_many_pixels, extreme_aspect. A JPEG, PNG, WebP or
    AVIF that ends before it says it does is already found `truncated` here.
    """
    with _open(data) as image:
        return _judge(image, data, limits)


def decode(data: bytes, limits: ImageLimits, max_pixels: int | None = None, share: float = 1.0) -> Image.Image:
    """Decode to RGB; above `max_pixels` (width x height) scaled down to it with its aspect ratio kept.

    `share`, above 0 and at most 1, is the share that is left of the pixels that the image would have otherwise.

    A JPEG is then decoded at 1/2, 1/4 or 1/8 of its size where that is still not below the target (libjpeg's scaled
    inverse DCT), which costs a fraction of the time. Raises ImageError as `check_header` does.
    """
    with _open(data) as image:
        info = _judge(image, data, limits)
        target = _fit(info.width, info.height, max_pixels)
        if share < 1:
            target = _fit(*target, max(1, int(target[0] * target[1] * share)))
        try:
            if info.format == "JPEG" and target != image.size:
                image.draft("RGB", target)
            image.load()
            rgb = to_rgb(image)
            return rgb if rgb.size == target else rgb.resize(target, Image.Resampling.BICUBIC)
        except Exception as error:  # Pillow's plugins raise anything at all on broken files
            raise _explain(error, info.format, data) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB from any of Pillow's modes: transparency over white, 16-bit grey scaled to 8 bits, the rest as Pillow does.

    The image given is left as it is, and returned itself if it is RGB already.
    """
    if image.mode.startswith("I"):
        grey = image.convert("I")
        highest = grey.getextrema()[1]
        if isinstance(highest, int | float) and highest > 255:
            grey = grey.point(lambda value: value * (255 / 65535))
        return grey.convert("L").convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layers = image.convert("RGBA")
        white = Image.new("RGBA", layers.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layers).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


class Decoder:
    """`decode` with a small memory, so that an image asked several prompts is decoded once; safe across threads.

    `keep` images (or their errors) are remembered by sha256 and share, the least recently used one forgotten first. The
    image returned is shared: do not change it in place. `decoded` counts the times a file was really decoded.
    """

    def __init__(self, limits: ImageLimits, max_pixels: int | None = None, keep: int = 8) -> None:
        self.limits, self.max_pixels, self.keep = limits, max_pixels, keep
        self.decoded = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, float], Future[Image.Image]] = OrderedDict()

    def decode(self, data: bytes, sha256: str, share: float = 1.0) -> Image.Image:
        """The RGB image in `data`, whose sha256 is `sha256`; `share` and what it raises as of `decode`."""
        place = sha256, share
        with self._lock:
            result = self._kept.get(place)
            mine = result is None
            if result is None:
                result = self._kept[place] = Future()
                self.decoded += 1
                while len(self._kept) > self.keep:
                    self._kept.popitem(last=False)
            else:
                self._kept.move_to_end(place)
        if mine:
            try:
                result.set_result(decode(data, self.limits, self.max_pixels, share))
            except BaseException as error:
                result.set_exception(error)  # whoever waits for this image must not wait for ever
                if not isinstance(error, ImageError):
                    with self._lock:
                        self._kept.pop(place, None)
                raise
        try:
            return result.result()
        except ImageError as error:  # a new one: tracebacks and keys of other threads do not mix
            raise ImageError(error.reason, error.args[0]) from error


def _open(data: bytes) -> ImageFile.ImageFile:
    if not data:
        raise ImageError("empty", "the image has no bytes")
    kind = sniff(data)
    if kind is None:
        if any(magic.startswith(data) for magic in (_PNG, _JPEG, b"RIFF", b"GIF8")):
            raise ImageError("truncated", f"the image ends after {len(data)} bytes")
        start = data[:16]
        raise ImageError("undecodable", f"begins with {start!r}: not one of {', '.join(FORMATS)}")
    module, name = _PLUGINS[kind]
    try:
        plugin = getattr(import_module(f"PIL.{module}"), name)
        return plugin(io.BytesIO(plain_jpeg(data) if kind == "JPEG" else data))
    except Exception as error:
        raise _explain(error, kind, data) from error


def sniff(data: bytes) -> str | None:
    """The format by its first bytes."""
    if data.startswith(_JPEG):
        return "JPEG"
    if data.startswith(_PNG):
        return "PNG"
    if data[:4] == b"RIFF" and (data[8:12] == b"WEBP" or (len(data) < 12 and b"WEBP".startswith(data[8:]))):
        return "WEBP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:2] == b"BM":
        return "BMP"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    return None


def _judge(image: ImageFile.ImageFile, data: bytes, limits: ImageLimits) -> ImageInfo:
    kind = str(image.format)
    width, height = image.size
    pixels, size = width * height, f"{width} x {height} px"
    allowed = limits.max_pixels
    if kind in _WARNS and Image.MAX_IMAGE_PIXELS is not None:
        allowed = min(allowed, Image.MAX_IMAGE_PIXELS)
    if min(width, height) < max(1, limits.min_side):
        raise ImageError("too_small", f"{size}: the shorter side must be at least {limits.min_side}")
    if pixels > allowed:
        raise ImageError("too_many_pixels", f"{size} is {pixels} pixels: at most {allowed} are allowed")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise ImageError("extreme_aspect", f"{size}: the longer side may be at most {limits.max_aspect:g} x the other")
    if not _is_whole(kind, data):
        raise ImageError("truncated", f"the {kind} of {size} ends early, after {len(data)} bytes")
    return ImageInfo(format=kind, width=width, height=height, mode=image.mode)


def _explain(error: Exception, kind: str, data: bytes) -> ImageError:
    """Pillow's error as ours: too early an end is told from damage by the file's own structure, then by the error."""
    reason: Reason = "undecodable"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        reason = "too_many_pixels"
    elif (
        not _is_whole(kind, data)
        or isinstance(error, EOFError | struct.error | IndexError)
        or "truncated" in str(error).lower()
    ):
        reason = "truncated"
    return ImageError(reason, f"{kind}: {type(error).__name__}: {str(error)[:300]}")


def _fit(width: int, height: int, max_pixels: int | None) -> tuple[int, int]:
    """The largest size of the same aspect ratio (to the pixel) within `max_pixels`."""
    if max_pixels is None or width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    short = max(1, int(min(width, height) * scale))
    long = min(max(1, int(max(width, height) * scale)), max(1, max_pixels // short))
    return (long, short) if width >= height else (short, long)


def _is_whole(kind: str, data: bytes) -> bool:
    """Whether the file reaches the end that its own structure gives; True for formats whose decoders see to it."""
    if kind == "JPEG":
        scan = _jpeg_header(data)[1]
        return scan is not None and data.rfind(b"\xff\xd9") > scan
    if kind == "PNG":
        at = len(_PNG)
        while at + 12 <= len(data):  # length, name, content, checksum (PNG specification, section 5.3)
            length, name = struct.unpack_from(">I4s", data, at)
            at += 12 + length
            if name == b"IEND":
                return at <= len(data)
        return False
    if kind == "WEBP":  # RIFF: the size of all that follows (developers.google.com/speed/webp/docs/riff_container)
        return len(data) >= 12 and 8 + struct.unpack_from("<I", data, 4)[0] <= len(data)
    return True


def plain_jpeg(data: bytes) -> bytes:
    """The JPEG without the segments that say nothing about pixels (EXIF, colour profiles, thumbnails, comments).

    Pillow would parse EXIF on opening, slowly, and with warnings where it is damaged.
    """
    kept, scan = _jpeg_header(data)
    return data if scan is None else b"".join([b"\xff\xd8", *kept, memoryview(data)[scan:]])


def _jpeg_header(data: bytes) -> tuple[list[bytes], int | None]:
    """The segments that pixels depend on, and the offset of the first scan; None where that is not reached.

    A segment is ff, a marker, and a big-endian length that counts itself (ITU-T T.81, annex B). Of the application
    segments JFIF (e0) and Adobe (ee, which tells the colour transform) are kept.
    """
    kept: list[bytes] = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:
            return kept, at
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD8:  # a fill byte, or a marker without a length
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if not (0xE1 <= marker <= 0xED or marker in (0xEF, 0xFE)):
            kept.append(data[at:end])
        at = end
    return kept, None
