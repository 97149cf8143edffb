"""Thumbnails of images, as a page holds them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from recaption.decode import check_header, decode
from recaption.errors import ImageError
from recaption.inspect.layout import Layout
from recaption.inspect.pixels import NotThere, Wanted, read_images
from recaption.types import ImageLimits

if TYPE_CHECKING:
    import duckdb

SIDE = 192  # pixels of a thumbnail's longer side
_LIMITS = ImageLimits(max_pixels=100_000_000)  # 300 MB when decoded


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A thumbnail as a data URL with its size in pixels, or why there is none."""

    url: str | None = None
    width: int = SIDE
    height: int = SIDE
    missing: str = ""


def thumbnails(
    layout: Layout, form: str | None, wanted: Sequence[Wanted], connection: duckdb.DuckDBPyConnection
) -> dict[str, Picture]:
    """A picture for every key. `form` is the build's format, None for a run without a build. Raises nothing."""
    return {key: _made(found) for key, found in read_images(connection, layout, form, wanted)}


def thumbnail(data: bytes) -> Picture:
    """At most 192 pixels a side, upright, as WebP without any metadata. Raises ImageError."""
    orientation = check_header(data, _LIMITS).orientation
    image = decode(data, _LIMITS, max_pixels=(2 * SIDE) ** 2, orientation=orientation)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    sink = io.BytesIO()
    image.save(sink, "WEBP", quality=72, method=4)
    url = f"data:image/webp;base64,{base64.b64encode(sink.getvalue()).decode()}"
    return Picture(url=url, width=image.width, height=image.height)


def _made(found: bytes | NotThere) -> Picture:
    if isinstance(found, NotThere):
        return Picture(missing=str(found))
    try:
        return thumbnail(found)
    except ImageError as error:
        return Picture(missing=f"the image cannot be shown: {error.args[0]}")
