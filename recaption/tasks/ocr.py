"""Task `ocr`: the text in an image, with boxes, by a grounding model that answers in JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import pyarrow as pa

from recaption.schema import column
from recaption.tasks.base import Inputs, Parsed, Rows, TableSpec, Task, Unit, UnitAnswer, value_in
from recaption.tasks.box_formats import QWEN_OUTPUT, read
from recaption.tasks.box_settings import BoxSettings
from recaption.tasks.faults import parse_whole
from recaption.tasks.output import Output
from recaption.text import cut, fold, normalise
from recaption.types import Box, Completion, Generation, Image

OCR: Final = TableSpec(
    name="ocr",
    columns=pa.schema(
        [
            column("text", pa.string(), "text in the image, in one line"),
            column("x0", pa.float64(), "left edge, as a share of the upright image's width; x0 < x1"),
            column("y0", pa.float64(), "upper edge, as a share of the height; y0 < y1"),
            column("x1", pa.float64(), "right edge"),
            column("y1", pa.float64(), "lower edge"),
            column("rank", pa.int32(), "place in the answer, 0-based"),
        ]
    ),
    parent="image",
    description="text in the image, with boxes",
)


class OcrTask(Task):
    """One request for each image. The value has `texts` with boxes in the units of the model.

    The build converts the boxes to shares of the image. It leaves out boxes without an area in the image, and
    repetitions.
    """

    settings = BoxSettings
    prompt = "ocr"
    tables: ClassVar = {OCR.name: OCR}
    options: BoxSettings

    def __init__(self, options: BoxSettings) -> None:
        super().__init__(options)
        if not options.format.startswith("qwen"):
            raise ValueError(f"format {options.format} has no text with boxes; allowed: qwen2_5_vl and qwen3_vl")

    def identity(self) -> Mapping[str, Any]:
        """The other settings apply at build."""
        return {"format": self.options.format}

    def output(self, unit: Unit | None) -> Output:
        return QWEN_OUTPUT

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return parse_whole(completion, lambda text: self._parsed(text, completion))

    def _parsed(self, text: str, completion: Completion) -> Parsed:
        boxes = read(self.options.format, text)
        texts = [
            {"text": text, "numbers": list(box.numbers)}
            for box in boxes
            if box.numbers is not None and (text := cut(fold(normalise(box.label))))
        ]
        dropped = len(boxes) - len(texts)
        detail = f"dropped {dropped} of {len(boxes)} texts, which are empty or have no box" if dropped else None
        if boxes and not texts:
            return Parsed(finish="invalid", detail=detail)
        return Parsed(finish="stop", value={"texts": texts, **self.options.shown_of(completion)}, detail=detail)

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        boxes, counts = dict[tuple[str, Box], None](), Counter[str]()  # in order, each once
        for answer in (found.answer for found in answers if found.answer is not None):
            shown = self.options.size_of(answer, image.upright_size)
            for item in value_in(answer)["texts"]:
                box = self.options.box(item["numbers"], shown)
                if box is not None:
                    boxes[item["text"], box] = None
                counts.update(boxes=1, boxes_beyond=self.options.ends_beyond(item["numbers"], shown))
        rows = [
            {"text": text, "x0": x0, "y0": y0, "x1": x1, "y1": y1, "rank": rank}
            for rank, (text, (x0, y0, x1, y1)) in enumerate(boxes)
        ]
        return Rows(tables={OCR.name: rows}, counts=counts)
