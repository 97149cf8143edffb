"""One hash for the pixels of an image, whatever a reader hands out."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np


def pixels_of(image: Any) -> str:
    """Size and SHA-256 of the pixels of a Pillow image (as RGB) or of an array of shape [height, width, 3], uint8."""
    pixels = np.asarray(image.convert("RGB") if hasattr(image, "convert") else image, dtype=np.uint8)
    return f"{pixels.shape[1]}x{pixels.shape[0]}-{hashlib.sha256(pixels.tobytes()).hexdigest()[:16]}"
