"""Boxes as shares of an image: area, overlap, and the size to which Qwen models scale an image."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

from recaption import decode
from recaption.types import Box

_NO_SCORES: Final[Mapping[Box, float | None]] = {}


def area(box: Box) -> float:
    """The share of the image that a box covers."""
    x0, y0, x1, y1 = box
    return (x1 - x0) * (y1 - y0)


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, which both have an area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    both = max(0.0, width) * max(0.0, height)
    return both / (area(one) + area(other) - both)


def without_overlaps(
    boxes: Iterable[Box], threshold: float, scores: Mapping[Box, float | None] = _NO_SCORES
) -> list[Box]:
    """The boxes by descending score, then area, each once. A box is left out if its IoU with a kept box before it is
    above `threshold`."""
    kept: list[Box] = []
    for box in sorted(set(boxes), key=lambda box: (-(scores.get(box) or 0.0), -area(box), box)):
        if all(iou(box, better) <= threshold for better in kept):
            kept.append(box)
    return kept


def shown_size(width: int, height: int, limits: tuple[int, int, int | None], share: float = 1.0) -> tuple[int, int]:
    """Width and height at which Qwen2.5-VL gets an upright image of `width` x `height`.

    `limits` are min_pixels and max_pixels of its processor, and the `max_pixels` of the pipeline. `share` is the part
    of the pixels that the attempt used. The image is scaled twice: by the engine (`decode.decode`), then by the
    processor, with limits that the engine lowers to those of the pipeline (`engine.budget`).
    """
    smallest, largest, budget = limits
    width, height = decode._fit(width, height, budget)
    if share < 1:
        width, height = decode._fit(width, height, max(1, int(width * height * share)))
    largest = largest if budget is None else min(largest, budget)
    return smart_resize(width, height, min(smallest, largest), largest)


def smart_resize(width: int, height: int, smallest: int, largest: int, factor: int = 28) -> tuple[int, int]:
    """Width and height of an image after the processor of Qwen2-VL and Qwen2.5-VL. `smallest`, `largest`: pixels.

    transformers, models/qwen2_vl/image_processing_qwen2_vl.py: `smart_resize`.
    """
    wide, high = round(width / factor) * factor, round(height / factor) * factor
    if wide * high > largest:
        scale = math.sqrt(height * width / largest)
        wide = max(factor, math.floor(width / scale / factor) * factor)
        high = max(factor, math.floor(height / scale / factor) * factor)
    elif wide * high < smallest:
        scale = math.sqrt(smallest / (height * width))
        wide = math.ceil(width * scale / factor) * factor
        high = math.ceil(height * scale / factor) * factor
    return wide, high
