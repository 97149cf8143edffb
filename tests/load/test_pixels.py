"""Decoders give the pixels that Pillow gives, for all kinds of files."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from loading import raw_text
from mutated_images import originals
from PIL import Image, ImageOps
from samples import jpeg, sample, write_tar

from recaption import decode as decoding
from recaption.errors import ImageError, UserError
from recaption.load import CaptionDataset, pixels
from recaption.types import ImageLimits


def encoded(mode: str, format: str, size: tuple[int, int] = (33, 20), **options: Any) -> bytes:
    rng = np.random.default_rng(3)
    smooth = Image.fromarray(rng.integers(0, 255, (4, 6, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    out = io.BytesIO()
    smooth.convert(mode).save(out, format, **options)
    return out.getvalue()


FILES = {
    "jpeg": encoded("RGB", "JPEG"),
    "progressive": encoded("RGB", "JPEG", progressive=True, quality=95),
    "without subsampling": encoded("RGB", "JPEG", subsampling=0),
    "grey": encoded("L", "JPEG"),
    "cmyk": encoded("CMYK", "JPEG"),
    "png": encoded("RGB", "PNG"),
    "palette": encoded("P", "PNG"),
    "with alpha": encoded("RGBA", "PNG"),
    "webp": encoded("RGB", "WEBP", lossless=True),
}


@pytest.mark.parametrize("name", FILES)
def test_simplejpeg_sees_what_pillow_sees(name: str) -> None:
    one = np.asarray(pixels.decoder("pil")(FILES[name]), np.int16)
    other = np.asarray(pixels.decoder("simplejpeg")(FILES[name]), np.int16)
    assert one.shape == other.shape == (20, 33, 3)
    assert np.abs(one - other).max() <= 2  # of two builds of libjpeg-turbo


@pytest.mark.skipif(not decoding.supported("HEIF"), reason="the extra heif is not installed")
def test_a_heic_is_read_without_a_change_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = originals()["heif"]
    expected = np.asarray(decoding.decode(data, ImageLimits()))
    monkeypatch.setattr(Image, "OPEN", {name: value for name, value in Image.OPEN.items() if name != "HEIF"})
    assert (np.asarray(pixels.decode_pil(data)) == expected).all()
    assert "HEIF" not in Image.OPEN


def test_a_heic_without_the_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recaption.decode.supported", lambda kind: False)
    with pytest.raises(ImageError, match=r"HEIC/HEIF, which needs the extra heif"):
        pixels.decode_pil(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")


def test_torchvision_is_handed_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its compiled half is not there in every environment: what is called is held against its documentation."""
    asked = []

    def decode_image(data: torch.Tensor, mode: str) -> torch.Tensor:
        asked.append((data.dtype, mode))
        return torch.from_numpy(np.array(pixels.decode_pil(data.numpy().tobytes())).transpose(2, 0, 1).copy())

    io_module = ModuleType("torchvision.io")
    io_module.__dict__.update(decode_image=decode_image, ImageReadMode=SimpleNamespace(RGB="RGB"))
    monkeypatch.setitem(sys.modules, "torchvision.io", io_module)
    made = pixels.decoder("torchvision")(FILES["jpeg"])
    assert asked == [(torch.uint8, "RGB")]
    assert made.tolist() == np.asarray(pixels.decode_pil(FILES["jpeg"])).transpose(2, 0, 1).tolist()


@pytest.mark.parametrize("name", ["pil", "simplejpeg"])
def test_what_does_not_decode_raises(name: Any) -> None:
    for data in (b"", b"\xff\xd8 no jpeg", FILES["jpeg"][:200], FILES["png"][:40]):
        with pytest.raises((OSError, ValueError, SyntaxError)):
            pixels.decoder(name)(data)


def test_decoders_by_name_and_function(built: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"policy": raw_text, "batch_size": 3}
    one = CaptionDataset(built("webdataset"), **options).batch(0)["images"]
    shapes = []

    def look(image: Any) -> Any:
        shapes.append(image.shape)
        return image

    other = CaptionDataset(built("webdataset"), decode="simplejpeg", transform=look, **options).batch(0)["images"]
    assert shapes == [(12, 16, 3)] * 3 and (one.int() - other.int()).abs().max() <= 2
    own = CaptionDataset(built("webdataset"), decode=lambda data: torch.full((3, 2, 2), len(data)), **options)
    assert own.batch(0)["images"].shape == (3, 3, 2, 2)
    with pytest.raises(UserError, match="decode is 'opencv'; it can be pil, torchvision, simplejpeg, or a function"):
        CaptionDataset(built("webdataset"), decode="opencv", **options)  # type: ignore[arg-type]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"simplejpeg is not installed\. Install it with: pip install simplejpeg"):
        CaptionDataset(built("webdataset"), decode="simplejpeg", **options)


@pytest.mark.parametrize("orientation", range(2, 9))
def test_what_a_decoder_makes_is_turned(orientation: int) -> None:
    image = Image.effect_noise((7, 5), 90).convert("RGB")
    exif = image.getexif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", exif=exif, quality=100)
    data = buffer.getvalue()
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))

    def turns_itself(data: bytes) -> Any:
        return ImageOps.exif_transpose(Image.open(io.BytesIO(data)))

    for decode in (pixels.decode_pil, turns_itself, lambda data: np.asarray(pixels.decode_pil(data))):
        assert (np.asarray(pixels.decoded(data, decode, orientation)) == expected).all()
    tensor = pixels.decoded(data, lambda data: torch.from_numpy(_channels_first(data)), orientation)
    assert tensor.is_contiguous() and (tensor.numpy().transpose(1, 2, 0) == expected).all()
    assert np.asarray(pixels.decoded(data, pixels.decode_pil, None)).shape == (5, 7, 3)
    with pytest.raises(UserError, match="decode made dict; give a PIL image"):
        pixels.decoded(data, lambda data: {}, orientation)


def _channels_first(data: bytes) -> Any:
    return np.asarray(pixels.decode_pil(data)).transpose(2, 0, 1).copy()


def test_images_of_different_sizes_are_a_list(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [sample("a", jpeg(1, (8, 8))), sample("b", jpeg(2, (9, 8)))])
    batch = CaptionDataset(tmp_path, policy=raw_text, batch_size=2).batch(0)
    assert sorted(tuple(image.shape) for image in batch["images"]) == [(3, 8, 8), (3, 8, 9)]
