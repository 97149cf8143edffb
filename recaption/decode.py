"""Decodes the bytes of an image file to pixels, in the same way for every engine.

The model sees what a trainer sees: `PIL.Image.open(file).convert("RGB")` (open_clip, src/open_clip_train/data.py;
webdataset, `decode("pilrgb")`; timm, readers) of an upright image. Builds contain upright images, so images are turned
here if the caller gives their orientation, which is what `PIL.ImageOps.exif_transpose` applies. Colour profiles are
ignored. Transparent images are composited over white; `convert` would show the hidden colour below. `to_rgb` is also
what the writer uses when it transcodes such an image to JPEG.

Pillow decides what is an image: no file that it loads is rejected here as undecodable or truncated, and no file that it
cannot load is decoded. Its plugins are used one by one and not through `Image.open`: only the formats below are
accepted, and its process-wide pixel limit and decompression bomb warning are not used, so no global state changes and
threads can decode at the same time. The limits here are checked on the header, before a pixel is decoded.

Two formats are upright once they are decoded: Pillow turns a TIFF by its tag, and libheif a HEIF.
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
from typing import Any, Final

from PIL import Image, ImageFile

from recaption.errors import ImageError, RequestError
from recaption.imagefile import (
    JPEG,
    PNG,
    Metadata,
    ends_well,
    exif_of,
    png_metadata,
    sniff,
    without_exif,
)
from recaption.types import Box, ImageLimits, Reason

# What opens each format, HEIC (HEIF) included. No other module names these libraries.
_PLUGINS: Final = {
    "JPEG": ("PIL.JpegImagePlugin", "jpeg_factory"),  # of a file with several images (MPO), the first
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIF": ("pillow_heif.as_plugin", "HeifImageFile"),
}
FORMATS = tuple(_PLUGINS)
"""Supported formats, recognised by content and not by name. Of an animated file the first frame is used."""

_NAMES: Final = {"HEIF": "HEIC/HEIF"}  # the name that users know
_WARNS = ("GIF", "TIFF")  # plugins that raise Pillow's bomb warning themselves, so its limit applies if it is lower
_ORIENTATION_TAG: Final = 0x0112
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageInfo:
    """The contents of an image file's header; width and height in pixels as stored."""

    format: str  # one of FORMATS
    width: int
    height: int
    mode: str  # Pillow's name of the pixel layout
    orientation: int | None = None  # EXIF's or XMP's, 2 to 8; None: upright as it is decoded


def check_header(data: bytes, limits: ImageLimits) -> ImageInfo:
    """Read the header of an image file, and compare it with the limits; see `read_header`.

    Raises ImageError: empty, undecodable, truncated, too_small, too_many_pixels, extreme_aspect.
    """
    with _open(data) as image:
        info = _info(image, data)
        check_limits(info.format, info.width, info.height, limits)
        _check_end(image, data, limits.max_pixels)
        return info


def read_header(data: bytes, max_pixels: int = ImageLimits().max_pixels) -> ImageInfo:
    """Read the header of an image file and check that the file is complete. Limits are not checked.

    Pixels are decoded only if the file ends before the end that its structure gives, and if there are at most
    `max_pixels`: then Pillow decides whether the file can be loaded. With more pixels it is `truncated`.
    Raises ImageError: empty, undecodable, truncated, too_many_pixels (Pillow's own limit).
    """
    with _open(data) as image:
        _check_end(image, data, max_pixels)
        return _info(image, data)


def check_limits(format: str, width: int, height: int, limits: ImageLimits) -> None:
    """Raises ImageError: too_small, too_many_pixels, extreme_aspect. `format` is one of FORMATS."""
    pixels, size = width * height, f"{width} x {height} px"
    allowed = limits.max_pixels
    if format in _WARNS and Image.MAX_IMAGE_PIXELS is not None:
        allowed = min(allowed, Image.MAX_IMAGE_PIXELS)
    if min(width, height) < max(1, limits.min_side):
        raise ImageError("too_small", f"{size}: the shorter side must be at least {limits.min_side}")
    if pixels > allowed:
        raise ImageError("too_many_pixels", f"{size} is {pixels} pixels: at most {allowed} are allowed")
    if max(width, height) > limits.max_aspect * min(width, height):
        raise ImageError("extreme_aspect", f"{size}: the longer side may be at most {limits.max_aspect:g} x the other")


def check_pixels(data: bytes, limits: ImageLimits) -> ImageInfo:
    """Decode all pixels and discard them; a JPEG at an eighth of its size, which still reads the whole file.

    Raises ImageError as `decode` does.
    """
    with _open(data) as image:
        info = _info(image, data)
        check_limits(info.format, info.width, info.height, limits)
        try:
            if info.format == "JPEG":
                image.draft("RGB", (1, 1))
            image.load()
            to_rgb(image)
        except Exception as error:
            raise _explain(error, info.format, data) from error
        return info


def decode(
    data: bytes,
    limits: ImageLimits,
    max_pixels: int | None = None,
    share: float = 1.0,
    orientation: int | None = None,
    crop: Box | None = None,
) -> Image.Image:
    """Decode to RGB. An image of more than `max_pixels` (width x height) is scaled down, with its aspect ratio.

    `share`, above 0 and at most 1, is the fraction of these pixels to keep.
    `orientation` is the EXIF orientation to apply, None: none. `crop` is the part of the upright image that is
    returned, rounded outwards to whole pixels; `max_pixels` and `share` then apply to this part alone.

    A JPEG is then decoded at 1/2, 1/4 or 1/8 of its size where the result is not smaller than the target (libjpeg's
    scaled inverse DCT), which costs a fraction of the time. Raises ImageError: what `check_header` raises, and
    undecodable and truncated for every file that Pillow cannot load. Raises RequestError for a crop that is no box in
    the image, or that is outside `limits.min_side` and `limits.max_aspect`.
    """
    with _open(data) as image:
        info = _info(image, data)
        check_limits(info.format, info.width, info.height, limits)
        width, height = info.width, info.height
        box = None
        if crop is not None:
            full = upright_size(width, height, orientation)
            box = crop_pixels(crop, *full, limits)
            width, height = box[2] - box[0], box[3] - box[1]
        target = _fit(width, height, max_pixels)
        if share < 1:
            target = _fit(*target, max(1, int(target[0] * target[1] * share)))
        try:
            if info.format == "JPEG" and target != (width, height):
                scale = max(target[0] / width, target[1] / height)
                whole = math.ceil(info.width * scale), math.ceil(info.height * scale)
                image.draft("RGB", target if box is None else whole)
            image.load()
            rgb = to_rgb(image)
            if box is not None:  # a JPEG may be smaller now
                rgb, orientation = upright(rgb, orientation), None
                x, y = rgb.width / full[0], rgb.height / full[1]
                part = box[0] * x, box[1] * y, box[2] * x, box[3] * y
                rgb = rgb.resize(target, Image.Resampling.BICUBIC, box=part)
            elif rgb.size != target:
                rgb = rgb.resize(target, Image.Resampling.BICUBIC)
        except Exception as error:  # Pillow's plugins raise errors of any type on broken files
            raise _explain(error, info.format, data) from error
        return upright(rgb, orientation)


def crop_pixels(crop: Box, width: int, height: int, limits: ImageLimits) -> tuple[int, int, int, int]:
    """The pixels x0, y0, x1, y1 of an upright image that a crop covers, rounded outwards.

    Raises RequestError for a crop that is no box in the image, or that is outside `limits.min_side` and
    `limits.max_aspect`.
    """
    x0, y0, x1, y1 = crop
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):
        raise RequestError(f"crop {crop}: expected x0, y0, x1, y1 with 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1")
    # 1e-6: a share that means whole pixels may be off by the rounding of floats.
    left, top = math.floor(x0 * width + 1e-6), math.floor(y0 * height + 1e-6)
    right, bottom = math.ceil(x1 * width - 1e-6), math.ceil(y1 * height - 1e-6)
    right, bottom = min(width, max(right, left + 1)), min(height, max(bottom, top + 1))
    wide, high = right - left, bottom - top
    if min(wide, high) < limits.min_side or max(wide, high) > limits.max_aspect * min(wide, high):
        raise RequestError(
            f"crop {crop} has {wide} x {high} px: the shorter side must have at least {limits.min_side}, and the "
            f"longer side at most {limits.max_aspect:g} x the shorter one"
        )
    return left, top, right, bottom


def decode_whole(data: bytes, orientation: int | None = None) -> tuple[Image.Image, bytes | None]:
    """All pixels as RGB, and the file's colour profile. Limits are not checked.

    Raises ImageError: empty, undecodable, truncated, too_many_pixels (Pillow's own limit).
    """
    with _open(data) as image:
        try:
            image.load()
            profile = image.info.get("icc_profile")
            return upright(to_rgb(image), orientation), profile if isinstance(profile, bytes) else None
        except Exception as error:
            raise _explain(error, _kind(image), data) from error


def upright_size(width: int, height: int, orientation: int | None) -> tuple[int, int]:
    """Width and height of an image once its EXIF orientation is applied: 5 to 8 swap them."""
    return (height, width) if orientation is not None and orientation >= 5 else (width, height)


def upright(image: Image.Image, orientation: int | None) -> Image.Image:
    """The image turned and mirrored by an EXIF orientation; None and 1 leave it as it is."""
    turn = _TURNS.get(orientation or 1)
    return image if turn is None else image.transpose(turn)


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB from any of Pillow's modes: transparency over white, 16-bit grey scaled to 8 bits, the rest as Pillow does.

    The given image is not changed; an RGB image is returned itself.
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
    """`decode` with a small cache, so that an image with several prompts is decoded only once. Thread-safe.

    `keep` images (or their errors) are cached by sha256, share and crop; the least recently used is dropped first. The
    returned image is shared: do not change it in place. `decoded` counts the files that were decoded.
    """

    def __init__(self, limits: ImageLimits, max_pixels: int | None = None, keep: int = 8) -> None:
        self.limits, self.max_pixels, self.keep = limits, max_pixels, keep
        self.decoded = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, float, Box | None], Future[Image.Image]] = OrderedDict()

    def decode(
        self,
        data: bytes,
        sha256: str,
        share: float = 1.0,
        orientation: int | None = None,
        crop: Box | None = None,
    ) -> Image.Image:
        """The RGB image in `data`, whose sha256 is `sha256`; the other arguments and the errors are those of `decode`.

        An image has one orientation, so the orientation is not part of the cache key.
        """
        place = sha256, share, crop
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
                result.set_result(decode(data, self.limits, self.max_pixels, share, orientation, crop))
            except BaseException as error:
                result.set_exception(error)  # threads that wait for this image must not wait forever
                if not isinstance(error, ImageError):
                    with self._lock:
                        self._kept.pop(place, None)
                raise
        try:
            return result.result()
        except ImageError as error:  # a new one, so that tracebacks and keys of different threads do not mix
            raise ImageError(error.reason, error.args[0]) from error


def _open(data: bytes) -> ImageFile.ImageFile:
    if not data:
        raise ImageError("empty", "the image has no bytes")
    kind = sniff(data)
    if kind is None:
        if any(magic.startswith(data) for magic in (PNG, JPEG, b"RIFF", b"GIF8")):
            raise ImageError("truncated", f"the image ends after {len(data)} bytes")
        raise ImageError("undecodable", f"not an image of a supported format ({', '.join(FORMATS)}): {data[:16]!r}")
    opener = plugin(kind)
    try:
        return opener(io.BytesIO(without_exif(data) if kind == "JPEG" else data))
    except Exception as error:
        raise _explain(error, kind, data) from error


def supported(kind: str) -> bool:
    """Whether the packages that read a format of `FORMATS` are installed."""
    try:
        module = import_module(_PLUGINS[kind][0])
    except ImportError:
        return False
    return bool(getattr(module, "SUPPORTED", True))


def plugin(kind: str) -> Any:
    """What opens a file of a format of `FORMATS` as a Pillow image. Raises ImageError, which names the extra."""
    if not supported(kind):
        raise ImageError(
            "undecodable",
            f"the image is {_NAMES.get(kind, kind)}, which needs the extra heif: pip install 'recaption[heif]'",
        )
    module, name = _PLUGINS[kind]
    return getattr(import_module(module), name)


def _kind(image: ImageFile.ImageFile) -> str:
    kind = str(image.format)
    return "JPEG" if kind == "MPO" else kind


def _info(image: ImageFile.ImageFile, data: bytes) -> ImageInfo:
    kind = _kind(image)
    width, height = image.size
    orientation = _orientation(kind, image, data)
    if kind == "TIFF" and _ORIENTATION_TAG not in getattr(image, "tag_v2", {}):  # with it, Pillow's size is upright
        width, height = upright_size(width, height, Metadata(xmp=image.info.get("xmp")).orientation)
    return ImageInfo(format=kind, width=width, height=height, mode=image.mode, orientation=orientation)


def _orientation(kind: str, image: ImageFile.ImageFile, data: bytes) -> int | None:
    """The orientation that `PIL.ImageOps.exif_transpose` applies to the pixels as Pillow decodes them, or None."""
    if kind == "TIFF":  # Pillow turns it while it loads
        return None
    if kind == "PNG":  # metadata may follow the pixels, which are not read here
        return png_metadata(data).orientation
    # Pillow copies `irot` and `imir` of an AVIF into EXIF and does not apply them; for a HEIF, EXIF is set to 1.
    exif = exif_of(data) if kind == "JPEG" else image.info.get("exif")
    return Metadata(exif=exif, xmp=image.info.get("xmp")).orientation


def _check_end(image: ImageFile.ImageFile, data: bytes, max_pixels: int) -> None:
    """Raises ImageError for a file that ends early, unless Pillow loads it nevertheless."""
    kind = _kind(image)
    if ends_well(kind, data):
        return
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError("truncated", f"the {kind} of {width} x {height} px ends early, after {len(data)} bytes")
    try:
        image.load()
    except Exception as error:
        raise _explain(error, kind, data) from error


def _explain(error: Exception, kind: str, data: bytes) -> ImageError:
    """Pillow's error as an ImageError. The file's structure, then the error, distinguishes truncation from damage."""
    reason: Reason = "undecodable"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        reason = "too_many_pixels"
    elif (
        not ends_well(kind, data)
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
