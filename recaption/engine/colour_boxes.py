"""An engine that finds the coloured objects of scenes by their colours, for demos of regions without a detector.

It answers requests as engine `detector` does: the phrases are the lines of the prompt. A phrase with a colour has a box
around the pixels of this colour in the cell of the scene that has most of them. Phrases without a colour have none.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np

from recaption.decode import decode
from recaption.demo import draw
from recaption.engine.base import Completion, EngineSpec, Gauge, Rendered, RendererSpec, Request
from recaption.errors import RequestError
from recaption.types import Detection

_FAR: Final = 40.0  # largest distance in RGB of a pixel from its colour
_FEWEST: Final = 0.01  # smallest share of a cell's pixels that have the colour
_SIDE: Final = 96  # pixels of the resized scene: three cells of 32


def boxes_of(pixels: Any, phrases: list[str]) -> tuple[Detection, ...]:
    """The boxes of the phrases in a scene, uint8 [S, S, 3] with S a multiple of 3, at most one each."""
    colours = list(draw.COLOURS)
    palette = np.array([draw.COLOURS[name] for name in colours], dtype=float)
    distances = np.linalg.norm(pixels[:, :, None].astype(float) - palette, axis=-1)
    nearest, cell = np.where(distances.min(-1) < _FAR, distances.argmin(-1), -1), pixels.shape[0] // 3
    found = []
    for n, phrase in enumerate(phrases):
        named = [name for name in re.findall(r"\w+", phrase.lower()) if name in draw.COLOURS]
        if not named:
            continue
        mask = nearest == colours.index(named[0])
        counts = mask.reshape(3, cell, 3, cell).sum((1, 3))
        row, column = np.unravel_index(counts.argmax(), counts.shape)
        if counts[row, column] < _FEWEST * cell * cell:
            continue
        inside = mask[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
        down, across = np.nonzero(inside.any(1))[0] + row * cell, np.nonzero(inside.any(0))[0] + column * cell
        edges = (across[0], down[0], across[-1] + 1, down[-1] + 1)
        x0, y0, x1, y1 = (float(edge) / pixels.shape[0] for edge in edges)
        found.append(Detection(phrase=n, score=float(inside.mean()) ** 0.25, box=(x0, y0, x1, y1)))
    return tuple(found)


class ColourBoxes:
    """See `engine.base.Engine`. The model in the pipeline file has no meaning."""

    accepts: Final = frozenset({"image"})
    outputs: Final = frozenset({"boxes"})
    capacity = 16

    def __init__(self, spec: EngineSpec) -> None:
        self._limits = spec.limits

    def renderer(self) -> RendererSpec | None:
        return None

    async def start(self) -> None:
        return None

    async def generate(self, work: Request | Rendered) -> Completion:
        if isinstance(work, Rendered) or work.image is None:
            raise RequestError("the rules for boxes take requests with an image, not rendered ones")
        image = decode(work.image, self._limits, orientation=work.orientation, crop=work.crop).resize((_SIDE, _SIDE))
        boxes = boxes_of(np.asarray(image), work.prompt.splitlines())
        return Completion(text="", finish_reason="stop", prompt_tokens=0, output_tokens=0, boxes=boxes)

    async def stop(self) -> None:
        return None

    def gauge(self) -> Gauge | None:
        return None

    def provenance(self) -> dict[str, str]:
        return {"engine": "recaption.engine.colour_boxes"}
