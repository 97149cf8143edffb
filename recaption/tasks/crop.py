"""Task `crop`: a caption of each region of an image. The model is shown the region alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from pydantic import Field

from recaption.section import Section
from recaption.tasks.base import Inputs, Parsed, Rows, Task, Unit, UnitAnswer
from recaption.tasks.caption import caption_of, parse_text
from recaption.tasks.region_table import REGIONS
from recaption.types import Box, Caption, Completion, Generation, Granularity, Image


class CropSettings(Section):
    """Which regions get a caption, and the margin that is shown around them."""

    most: int | None = Field(None, ge=1, description="Largest number of regions of an image, by rank; default: all")
    margin: float = Field(
        0.1, ge=0, le=1, description="Margin around a box on each side, as a share of its width and height"
    )


class CropTask(Task):
    """One request for each region, in the order of their ranks; points have none. The answer becomes a caption of
    granularity `region`, which has the region's id and the box that was shown."""

    settings = CropSettings
    prompt = "describe_region_short"
    variables = frozenset({"phrase"})
    reads = frozenset({REGIONS.name})
    makes_captions = True
    granularity: ClassVar[Granularity | None] = "region"
    options: CropSettings

    def identity(self) -> Mapping[str, Any]:
        """The settings only decide which requests are sent; each request has its own box."""
        return {}

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        units = []
        for upstream in inputs.values():
            boxes = [row for row in upstream.tables.get(REGIONS.name, ()) if not row["is_point"]]
            for row in boxes[: self.options.most]:
                box = _widened((row["x0"], row["y0"], row["x1"], row["y1"]), self.options.margin)
                id = str(row["region_id"]).removeprefix(f"{image.key}/")
                units.append(Unit(id=id, variables={"phrase": row["phrase"]}, crop=box))
        return units

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return parse_text(completion)

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        made: list[Caption] = []
        for found in answers:
            caption = caption_of(generation, image.key, len(made), found)
            if caption is not None:
                made.append(replace(caption, region_id=f"{image.key}/{found.unit.id}", box=found.unit.crop))
        return Rows(captions=tuple(made))


def _widened(box: Box, margin: float) -> Box:
    """The box with a margin on each side, within the image. `margin`: a share of its width and height."""
    x0, y0, x1, y1 = box
    wide, high = margin * (x1 - x0), margin * (y1 - y0)
    return max(0.0, x0 - wide), max(0.0, y0 - high), min(1.0, x1 + wide), min(1.0, y1 + high)
