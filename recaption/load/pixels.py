"""From the bytes of an image to what a batch holds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from recaption.errors import UserError

Output = Literal["uint8", "float32"]


def decode_pil(data: bytes) -> Any:
    """A `PIL.Image` in RGB. Raises what Pillow raises."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")  # convert copies in any case


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
