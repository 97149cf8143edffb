"""Decodes images and stacks them into a batch."""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Callable, Mapping
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


def decoded(data: bytes, decode: Callable[[bytes], Any], orientation: int | None) -> Any:
    """The image that `decode` makes of the bytes, upright. EXIF is removed from a JPEG first, so that it is not turned
    twice.

    With an `orientation` the decoder must return a PIL image, an array [H, W, 3] or a tensor [3, H, W]; otherwise
    UserError is raised. Errors of the decoder pass through.
    """
    if orientation is None:
        return decode(data)
    from recaption.imagefile import plain_jpeg, sniff

    return turned(decode(plain_jpeg(data) if sniff(data) == "JPEG" else data), orientation)


def turned(image: Any, orientation: int) -> Any:
    """The image with an EXIF orientation applied: a PIL image, an array [H, W, 3] or a tensor [3, H, W]."""
    if hasattr(image, "transpose") and hasattr(image, "getbands"):
        from recaption.decode import upright

        return upright(image, orientation)
    across, down, right = orientation >= 5, orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    if isinstance(image, np.ndarray):
        image = image.swapaxes(0, 1) if across else image
        return np.ascontiguousarray(image[:: -1 if down else 1, :: -1 if right else 1])
    if not hasattr(image, "flip"):
        raise UserError(
            f"decode made {type(image).__name__}; give a PIL image, an array [H, W, 3] or a tensor [3, H, W]"
        )
    image = image.transpose(-2, -1) if across else image
    return image.flip([dim for dim, flips in ((-2, down), (-1, right)) if flips]).contiguous()


def decode_pil(data: bytes) -> Any:
    """A `PIL.Image` in RGB. HEIC needs the extra heif. Raises what Pillow raises, and ImageError without the extra."""
    from PIL import Image

    from recaption.decode import plugin
    from recaption.imagefile import sniff

    opener = plugin("HEIF") if sniff(data) == "HEIF" else Image.open
    with opener(io.BytesIO(data)) as image:
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")  # convert copies in any case


def decode_torchvision(data: bytes) -> Any:
    """A uint8 tensor [3, H, W] in RGB. Raises RuntimeError."""
    import torch
    from torchvision.io import ImageReadMode, decode_image

    return decode_image(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)


def decode_simplejpeg(data: bytes) -> Any:
    """A uint8 array [H, W, 3] in RGB; Pillow decodes other formats and CMYK. Raises ValueError, Pillow's errors."""
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
    """A tensor [3, H, W], uint8 or float32 in [0, 1], of a PIL image or a uint8 array [H, W, 3]. Tensors are unchanged.

    Raises UserError for anything else, such as a greyscale image.
    """
    import torch

    if isinstance(image, torch.Tensor):
        return image
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3:
        raise UserError(
            f"transform gave {array.dtype} of shape {array.shape}; it must give a tensor, or uint8 [H, W, 3]"
        )
    tensor = torch.from_numpy(array.transpose(2, 0, 1).copy())
    return tensor if output == "uint8" else tensor.float().div_(255)


class Stack:
    """A tensor [B, 3, H, W] in memory that a worker shares with the trainer; a list if images differ in size.

    Each image is copied at once, while it is in the processor's cache: torch.stack at the end takes twice as long, and
    so does the transform, which then uses new memory for each image.
    """

    def __init__(self, size: int) -> None:
        self._size, self._added = size, 0
        self._made: Any = None

    def add(self, image: Any) -> None:
        """The next image, a tensor."""
        if self._added == 0:
            self._made = _empty((self._size, *image.shape), image.dtype)
        if not isinstance(self._made, list) and (image.shape, image.dtype) != (self._made.shape[1:], self._made.dtype):
            self._made = [one.clone() for one in self._made[: self._added]]
        if isinstance(self._made, list):
            self._made.append(image)
        else:
            self._made[self._added] = image
        self._added += 1

    def whole(self) -> Any:
        """All images; `size` of them must have been added."""
        assert self._added == self._size
        return self._made


def _empty(shape: tuple[int, ...], dtype: Any) -> Any:
    import torch
    from torch.utils.data import get_worker_info

    size = math.prod(shape) * dtype.itemsize
    if get_worker_info() is None:  # NumPy requests huge pages, torch does not: a third of the time
        return torch.from_numpy(np.empty(size, np.uint8)).view(dtype).view(shape)
    # as in torch's default_collate: saves a copy on the way to the trainer
    shared = torch.UntypedStorage._new_shared(size)
    return torch.empty(0, dtype=dtype).set_(shared, 0, shape)
