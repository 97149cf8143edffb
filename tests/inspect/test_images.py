from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from recaption.inspect.images import webp


def jpeg(image: Image.Image, orientation: int = 1) -> bytes:
    exif, sink = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    image.save(sink, "JPEG", quality=95, exif=exif)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1200, 900), (512, 384)),
        ((901, 1200), (384, 511)),  # the aspect ratio is kept to the pixel
        ((512, 300), (512, 300)),
        ((31, 17), (31, 17)),
        ((900, 5), (429, 2)),
    ],
)
def test_a_picture_has_at_most_that_side(size: tuple[int, int], expected: tuple[int, int]) -> None:
    data, width, height = webp(jpeg(Image.new("RGB", size)), 512)
    assert (width, height) == expected == Image.open(io.BytesIO(data)).size


def test_a_picture_looks_like_the_image_and_is_upright() -> None:
    coarse = np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((1200, 900), Image.Resampling.BICUBIC)
    data, width, height = webp(jpeg(image, orientation=6), 256)
    expected = image.transpose(Image.Transpose.ROTATE_270).resize((width, height), Image.Resampling.LANCZOS)
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), float)
    assert (width, height) == (192, 256) and np.abs(shown - np.asarray(expected, float)).mean() < 6
