"""From the bytes of an image to what a batch holds."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np

from recaption.errors import UserError

Output = Literal["uint8", "float32"]
Decode = Literal["pil", "torchvision", "simplejpeg"] | Callable[[bytes], Any]


def decoder(given: Decode) -> Callable[[bytes], Any]:
    """The decoder of that name, or the function that was given. Raises UserError."""
    if callable(given):
        return given
    if given not in _DECODERS:
        raise UserError(f"decode is {given!r}; it can be {', '.join(_DECODERS)}, or a function of the bytes")
    module, decode = _DECODERS[given]
    if importlib.util.find_spec(module) is None:
        raise UserError(f"decode is {given!r}, and {module} is not installed. Install it with: pip install {module}")
    return decode


def decode_pil(data: bytes) -> Any:
    """A `PIL.Image` in RGB. Raises what Pillow raises."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")  # convert copies in any case


def decode_torchvision(data: bytes) -> Any:
    """A uint8 tensor [3, H, W] in RGB. Raises RuntimeError."""
    import torch
    from torchvision.io import ImageReadMode, decode_image

    return decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)


def decode_simplejpeg(data: bytes) -> Any:
    """A uint8 array [H, W, 3] in RGB; what is no JPEG, and JPEGs in CMYK, by way of Pillow. Raises ValueError."""
    import simplejpeg

    if data[:2] == b"\xff\xd8" and simplejpeg.decode_jpeg_header(data)[2] in ("YCbCr", "RGB", "Gray"):
        return simplejpeg.decode_jpeg(data, colorspace="RGB")
    return np.asarray(decode_pil(data))


_DECODERS: Final[Mapping[str, tuple[str, Callable[[bytes], Any]]]] = {
    "pil": ("PIL", decode_pil),
    "torchvision": ("torchvision", decode_torchvision),
    "simplejpeg": ("simplejpeg", decode_simplejpeg),
}


def to_tensor(image: Any, output: Output) -> Any:
    """[3, H, W]: of a PIL image or an array [H, W, 3], uint8, or float32 in [0, 1]. A tensor stays as it is."""
    import torch

    if isinstance(image, torch.Tensor):
        return image
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3:
        raise UserError(f"an image became {array.dtype} of shape {array.shape}; give tensors, or uint8 of [H, W, 3]")
    tensor = torch.from_numpy(array.transpose(2, 0, 1).copy())
    return tensor if output == "uint8" else tensor.float().div_(255)


def stack(images: Sequence[Any]) -> Any:
    """[B, 3, H, W] where all are of one size, in memory that a worker shares with the trainer; else the list."""
    from torch.utils.data import default_collate

    same = len({(image.shape, image.dtype) for image in images}) == 1
    return default_collate(list(images)) if same else list(images)
