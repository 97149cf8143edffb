"""From the bytes of an image to what a batch holds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

Output = Literal["uint8", "float32"]


def decode_pil(data: bytes) -> Any:
    """A `PIL.Image` in RGB. Raises what Pillow raises."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def to_tensor(image: Any, output: Output) -> Any:
    """[3, H, W]: of a PIL image or an array [H, W, 3], uint8, or float32 in [0, 1]. A tensor stays as it is."""
    import torch

    if isinstance(image, torch.Tensor):
        return image
    array = np.array(image, np.uint8)  # a copy: torch wants to own what it may write to
    tensor = torch.from_numpy(array).permute(2, 0, 1).contiguous()
    return tensor if output == "uint8" else tensor.float().div_(255)


def stack(images: Sequence[Any]) -> Any:
    """[B, 3, H, W] where all are of one size, in memory that a worker shares with the trainer; else the list."""
    from torch.utils.data import default_collate

    same = len({(image.shape, image.dtype) for image in images}) == 1
    return default_collate(list(images)) if same else list(images)
