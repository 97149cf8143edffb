from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pil
from PIL import ImageOps

from recaption.errors import ImageError
from recaption.write import recognise, store_image


def stored(data: bytes, mode: Any = "jpeg", orientation: int | None = None) -> Any:
    sha256 = hashlib.sha256(data).hexdigest()
    return store_image(data, sha256, mode, key="k", shard="s", orientation=orientation)


def encoded(image: Pil.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def test_jpeg_bytes_are_unchanged(make: Any) -> None:
    data = make.picture(0) + b"trailing bytes"
    made = stored(data)
    assert made.data is data and made.sha256 == made.source_sha256
    assert (made.format, made.suffix, made.width, made.height) == ("jpeg", "jpg", 24, 16)


@pytest.mark.parametrize(
    ("format", "name"), [("PNG", "png"), ("WEBP", "webp"), ("GIF", "gif"), ("BMP", "bmp"), ("TIFF", "tiff")]
)
def test_other_formats_become_jpeg_with_both_hashes(make: Any, format: str, name: str) -> None:
    data = make.picture(0, format)
    assert recognise(data) == name
    made = stored(data)
    assert recognise(made.data) == "jpeg" and made.data == stored(data).data
    assert (made.source_format, made.source_sha256) == (name, hashlib.sha256(data).hexdigest())
    assert made.sha256 == hashlib.sha256(made.data).hexdigest() != made.source_sha256
    with Pil.open(io.BytesIO(made.data)) as image:
        assert image.mode == "RGB" and image.size == (made.width, made.height) == (24, 16)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_becomes_white(mode: str) -> None:
    image = Pil.new("RGBA", (16, 16), (255, 0, 0, 0)).convert(mode if mode != "P" else "RGBA")
    options = {}
    if mode == "P":
        image = Pil.new("P", (16, 16), 0)
        options["transparency"] = 0
    made = np.asarray(Pil.open(io.BytesIO(stored(encoded(image, "PNG", **options)).data)))
    assert made.min() > 250


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8).repeat(8, 0).repeat(8, 1)
    made = np.asarray(Pil.open(io.BytesIO(stored(encoded(Pil.fromarray(ramp), "PNG")).data)))
    assert abs(int(made[4, 4, 0])) < 4 and 100 < made.mean() < 155 and made[-4, -4, 0] > 250


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["jpeg", "passthrough"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_images_with_an_orientation_are_stored_upright(mode: str, format: str, orientation: int) -> None:
    image = Pil.radial_gradient("L").resize((40, 20)).convert("RGB")
    image.paste((200, 20, 20), (0, 0, 12, 8))
    exif = image.getexif()
    exif[0x0112] = orientation
    data = encoded(image, format, exif=exif, icc_profile=b"a profile")
    made = stored(data, mode, orientation=orientation)
    expected = ImageOps.exif_transpose(Pil.open(io.BytesIO(data))).convert("RGB")
    found = Pil.open(io.BytesIO(made.data))
    assert (made.format, found.format, found.size) == ("jpeg", "JPEG", expected.size) == ("jpeg", "JPEG", found.size)
    assert (made.width, made.height) == expected.size == ((20, 40) if orientation >= 5 else (40, 20))
    assert not found.getexif() and found.info["icc_profile"] == b"a profile"
    assert abs(np.asarray(found).astype(int) - np.asarray(expected)).mean() < 3
    assert (made.sha256, made.source_sha256) == tuple(hashlib.sha256(one).hexdigest() for one in (made.data, data))
    if format == "JPEG":
        assert stored(data, mode).data is data, "no orientation to apply: JPEG is not touched"


def test_passthrough_keeps_bytes_and_format(make: Any) -> None:
    for format, suffix in (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp")):
        data = make.picture(0, format)
        made = stored(data, "passthrough")
        assert made.data is data and made.suffix == suffix and (made.width, made.height) == (24, 16)
    for format in ("GIF", "BMP", "TIFF"):  # which a trainer's tar cannot have
        made = stored(make.picture(0, format), "passthrough")
        assert (made.format, made.source_format, made.width, made.height) == ("jpeg", format.lower(), 24, 16)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "missing_image"), (b"<html>", "undecodable"), (b"\x89PNG\r\n\x1a\n broken", "truncated")],
)
def test_an_image_that_cannot_be_stored_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        stored(data)
    assert caught.value.reason == reason and caught.value.key == "k" and caught.value.shard == "s"


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"comment": b"\xff\xc0" * 9}]
)
def test_the_size_is_read_from_the_frame_header(options: dict[str, Any]) -> None:
    image = Pil.effect_noise((50, 31), 80).convert("RGB")
    exif = image.getexif()
    exif[0x010E] = "a \xff\xc0 thumbnail"
    data = encoded(image, "JPEG", exif=exif, icc_profile=b"\xff\xc2" * 40_000, **options)
    filled = data[:2] + b"\xff" * 3 + data[2:]  # fill bytes are allowed before any marker
    for form in (data, filled):
        made = stored(form)
        assert (made.width, made.height) == Pil.open(io.BytesIO(form)).size == (50, 31)


@pytest.mark.parametrize("cut", [2, 3, 9, 40])
def test_a_header_that_ends_early_has_no_size(make: Any, cut: int) -> None:
    assert stored(make.picture(0)[:cut] if cut > 2 else b"\xff\xd8\xff").width is None


def test_a_jpeg_with_a_broken_header_is_stored_without_a_size() -> None:
    made = stored(b"\xff\xd8\xff" + bytes(50))
    assert made.width is None and made.height is None
