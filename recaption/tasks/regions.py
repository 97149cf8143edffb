"""Task `regions`: where the objects of captions are in the image, by a grounding model or a detector."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from recaption.tasks.base import CAPTIONS, Inputs, Parsed, Rows, Task, Unit, UnitAnswer, value_in
from recaption.tasks.box_formats import OF_ONE_PHRASE, output_of, read
from recaption.tasks.box_settings import BoxSettings
from recaption.tasks.faults import parse_whole
from recaption.tasks.output import LEAST_SCORE, Output
from recaption.tasks.phrases import NO_MENTION, Mention, Named, named, phrase_of
from recaption.tasks.region_table import REGIONS, Region, ranked, region_rows
from recaption.types import Completion, Generation, Image


class RegionsSettings(BoxSettings):
    """What is looked for, and how the model writes boxes."""

    of: Named = Field(
        "objects", description="objects: their lemmas, each once; noun_phrases: with the words in front of them"
    )
    labels: tuple[str, ...] = Field((), description="Phrases to find in each image, instead of the objects of captions")
    ask: Literal["image", "phrase"] | None = Field(
        None, description="One request for each image, or for each phrase; default: that of the format"
    )
    most_phrases: int = Field(16, ge=1, description="Largest number of phrases of an image; the first ones are kept")
    most: int = Field(5, ge=1, description="Largest number of boxes of a phrase")
    overlap: float = Field(0.7, gt=0, le=1, description="Boxes of a phrase with a larger IoU count as one")
    threshold: float = Field(0.25, ge=LEAST_SCORE, le=1, description="detector: smallest score of a box")
    text_threshold: float | None = Field(
        None,
        ge=LEAST_SCORE,
        le=1,
        description="detector: smallest score with which a box is kept for further phrases; default: for the best only",
    )


class RegionsTask(Task):
    """One request for each image or each phrase. The value has `boxes` in the units of the model.

    The build converts them to shares of the image, so that thresholds, `overlap`, `most` and the limits of pixels can
    change without new requests. Boxes that cannot be used are counted in the detail of the attempt. If no box can be
    used, the answer is invalid. A detector may find none.
    """

    settings = RegionsSettings
    variables = frozenset({"phrases"})
    tables: ClassVar = {REGIONS.name: REGIONS}
    reads = frozenset({CAPTIONS})
    prompt = "regions_qwen"
    options: RegionsSettings

    def __init__(self, options: RegionsSettings) -> None:
        super().__init__(options)
        if any(not label.strip() for label in options.labels) or len(set(options.labels)) < len(options.labels):
            raise ValueError("labels must differ and must not be blank")
        if any(len(label.splitlines()) > 1 for label in options.labels):
            raise ValueError("each label must be one line")
        if options.ask == "image" and options.format in OF_ONE_PHRASE:
            raise ValueError(f"format {options.format} is for models that find one phrase at a time; set ask: phrase")
        if not options.format.startswith("qwen"):
            self.prompt = f"regions_{options.format}"
        if options.labels:
            self.reads = frozenset()

    def identity(self) -> Mapping[str, Any]:
        """The other settings decide which requests are sent, and requests differ in their texts; or they apply at
        build."""
        return {"format": self.options.format}

    def output(self, unit: Unit | None) -> Output:
        return output_of(self.options.format)

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        phrases = list(self._mentions(inputs))
        if phrases and self.options.format == "qwen2_5_vl" and None in image.upright_size:
            raise ValueError("boxes in pixels need the size of the image, which is not known")
        one_each = (self.options.ask or ("phrase" if self.options.format in OF_ONE_PHRASE else "image")) == "phrase"
        groups = [[phrase] for phrase in phrases] if one_each else [phrases] if phrases else []
        return [
            Unit(id=f"phrases#{n}", variables={"phrases": group, "upright_size": list(image.upright_size)})
            for n, group in enumerate(groups)
        ]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        if self.options.format == "detector":
            return _detected(unit, completion)
        return parse_whole(completion, lambda text: self._parsed(unit, text, completion))

    def _parsed(self, unit: Unit, text: str, completion: Completion) -> Parsed:
        boxes = read(self.options.format, text)
        kept, dropped, outside = [], Counter[str](), Counter[str]()
        shown = self.options.size(unit.variables["upright_size"], completion.shown)
        for box in boxes:
            phrase = phrase_of(box.label, unit.variables["phrases"])
            if box.numbers is None:
                dropped["unreadable"] += 1
            elif phrase is None:
                dropped["with another label"] += 1
            else:
                kept.append({"phrase": phrase, "numbers": list(box.numbers)})
                if self.options.box(box.numbers, shown) is None:
                    is_beyond = self.options.ends_beyond(box.numbers, shown)
                    outside["beyond the image" if is_beyond else "without an area in the image"] += 1
        dropped.update(outside)
        reasons = ", ".join(f"{count} {reason}" for reason, count in dropped.items())
        detail = f"dropped {dropped.total()} of {len(boxes)} boxes: {reasons}" if dropped else None
        if boxes and dropped.total() == len(boxes):
            if "beyond the image" in dropped:
                detail = f"{detail}. The model may not write boxes in the units of format {self.options.format}"
            return Parsed(finish="invalid", detail=detail)
        return Parsed(finish="stop", value={"boxes": kept, **self.options.shown_of(completion)}, detail=detail)

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        regions, counts = list[Region](), Counter[str]()
        for answer in (found.answer for found in answers if found.answer is not None):
            shown = self.options.size_of(answer, image.upright_size)
            for item in self._above_thresholds(value_in(answer)["boxes"]):
                box = self.options.box(item["numbers"], shown)
                if box is not None:
                    regions.append(Region(phrase=item["phrase"], box=box, score=item.get("score")))
                counts.update(boxes=1, boxes_beyond=self.options.ends_beyond(item["numbers"], shown))
        kept = ranked(regions, self.options.overlap, self.options.most)
        name, is_point = f"{image.key}/{generation.id}", self.options.format == "molmo"
        rows = region_rows(name, kept, self._mentions(inputs), is_point=is_point)
        return Rows(tables={REGIONS.name: rows}, counts=counts)

    def _above_thresholds(self, items: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Those boxes of an answer whose scores are large enough, and those without a score."""
        best = defaultdict[tuple[float, ...], float](float)
        for item in items:
            place = tuple(item["numbers"])
            best[place] = max(best[place], item.get("score", 1.0))
        further = self.options.text_threshold or math.inf
        return [
            item
            for item in items
            if (score := item.get("score", 1.0)) >= self.options.threshold
            and (score == best[tuple(item["numbers"])] or score >= further)
        ]

    def _mentions(self, inputs: Inputs) -> Mapping[str, Mention]:
        """What is looked for, with the place where captions first name it."""
        if self.options.labels:
            return dict.fromkeys(self.options.labels, NO_MENTION)
        return named(inputs, self.options.of, self.options.most_phrases)


def _detected(unit: Unit, completion: Completion) -> Parsed:
    phrases = unit.variables["phrases"]
    if completion.boxes is None:
        return Parsed(finish="invalid", detail="the engine returned no boxes")
    kept = [
        {"phrase": phrases[found.phrase], "numbers": list(found.box), "score": found.score}
        for found in completion.boxes
        if found.phrase < len(phrases)  # the prompt may have further lines
    ]
    return Parsed(finish="stop", value={"boxes": kept})
