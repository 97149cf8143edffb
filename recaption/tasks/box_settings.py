"""The settings of tasks whose answers have boxes: how the model writes them, and what it was shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from recaption.section import Section
from recaption.tasks.base import value_in
from recaption.tasks.box_formats import BoxFormat, ends_beyond, normalised
from recaption.tasks.boxes import shown_size
from recaption.types import Answer, Box, Completion


class BoxSettings(Section):
    """How the model writes boxes. All but `format` apply at build.

    The limits of pixels are used only if the engine does not return the size of the image that the model was given.
    """

    format: BoxFormat = Field("qwen2_5_vl", description="How the model writes boxes")
    min_pixels: int = Field(3136, ge=1, description="qwen2_5_vl: min_pixels of the model's processor")
    max_pixels: int = Field(12_845_056, ge=1, description="qwen2_5_vl: max_pixels of the model's processor")
    model_max_pixels: int | None = Field(None, ge=1, description="qwen2_5_vl: max_pixels of the model in the pipeline")

    def box(self, numbers: Sequence[float], shown: tuple[int, int] | None) -> Box | None:
        """The box that a model wrote, in shares of the image; None: it has no area in the image.

        `shown`: see `size`.
        """
        return normalised(self.format, numbers, shown)

    def ends_beyond(self, numbers: Sequence[float], shown: tuple[int, int] | None) -> bool:
        """Whether a box that a model wrote ends beyond the image."""
        return ends_beyond(self.format, numbers, shown)

    def size(
        self, upright_size: Sequence[int | None], shown: Sequence[int] | None, share: float = 1.0
    ) -> tuple[int, int] | None:
        """Width and height in pixels of the image that the model was given; None: its boxes are not in pixels.

        `shown` is what the engine returned. Without it, the size is computed from that of the upright image and
        `share`, the part of the pixels that the attempt used. Raises ValueError if neither is known.
        """
        if self.format != "qwen2_5_vl":
            return None
        if shown is not None:
            width, height = shown
            return width, height
        wide, high = upright_size
        if wide is None or high is None:
            raise ValueError("boxes in pixels need the size of the image, which is not known")
        return shown_size(wide, high, (self.min_pixels, self.max_pixels, self.model_max_pixels), share)

    def shown_of(self, completion: Completion) -> dict[str, Any]:
        """The part of a value that `size_of` reads: the size of the image, if the boxes are in pixels."""
        return {"shown": list(completion.shown)} if self.format == "qwen2_5_vl" and completion.shown else {}

    def size_of(self, answer: Answer, upright_size: Sequence[int | None]) -> tuple[int, int] | None:
        """`size` for a stored answer."""
        return self.size(upright_size, value_in(answer).get("shown"), share_of(answer))


def share_of(answer: Answer) -> float:
    """The share of the usual number of pixels that the model was shown for an answer."""
    return (answer.attempts[-1].pixel_share if answer.attempts else None) or 1.0
