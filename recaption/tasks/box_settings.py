"""The settings of tasks whose answers have boxes: how the model writes them, and what it was shown."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from recaption.section import Section
from recaption.tasks.box_formats import BoxFormat, normalised
from recaption.tasks.boxes import shown_size
from recaption.types import Answer, Box


class BoxSettings(Section):
    """How the model writes boxes. All but `format` apply at build."""

    format: BoxFormat = Field("qwen2_5_vl", description="How the model writes boxes")
    min_pixels: int = Field(3136, ge=1, description="qwen2_5_vl: min_pixels of the model's processor")
    max_pixels: int = Field(12_845_056, ge=1, description="qwen2_5_vl: max_pixels of the model's processor")
    model_max_pixels: int | None = Field(None, ge=1, description="qwen2_5_vl: max_pixels of the model in the pipeline")

    def box(self, numbers: Sequence[float], upright_size: Sequence[int | None], share: float = 1.0) -> Box | None:
        """The box that a model wrote, in shares of the image; None: it has no area in the image.

        `upright_size` is the width and height of the upright image in pixels, `share` the part of the pixels that the
        model was shown. Raises ValueError for boxes in pixels of an image whose size is not known.
        """
        if self.format != "qwen2_5_vl":
            return normalised(self.format, numbers)
        width, height = upright_size
        if width is None or height is None:
            raise ValueError("boxes in pixels need the size of the image, which is not known")
        limits = self.min_pixels, self.max_pixels, self.model_max_pixels
        return normalised(self.format, numbers, shown_size(width, height, limits, share))


def share_of(answer: Answer) -> float:
    """The part of the usual pixels that the model was shown for an answer."""
    return (answer.attempts[-1].pixel_share if answer.attempts else None) or 1.0
