"""Task `review`: which sub-captions tell nothing visible or repeat an earlier one, by a text model that reads all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import orjson
import pyarrow as pa
from pydantic import Field

from recaption.schema import column
from recaption.section import Section
from recaption.tasks.base import (
    CAPTIONS,
    Inputs,
    Parsed,
    Rows,
    TableSpec,
    Task,
    Unit,
    UnitAnswer,
    sub_captions,
    value_in,
)
from recaption.tasks.faults import parse_whole
from recaption.tasks.output import Output, value_of
from recaption.text import fold
from recaption.types import Completion, Generation, Image

_NUMBER: Final = {"type": "integer", "minimum": 1, "maximum": 9999}  # bounded, so that a grammar ends each number
_PAIR: Final = {
    "type": "object",
    "properties": {"sentence": _NUMBER, "of": _NUMBER},
    "required": ["sentence", "of"],
    "additionalProperties": False,
}
_ANSWER: Final = {
    "type": "object",
    "properties": {"empty": {"type": "array", "items": _NUMBER}, "repeats": {"type": "array", "items": _PAIR}},
    "required": ["empty", "repeats"],
    "additionalProperties": False,
}

REVIEWS: Final = TableSpec(
    name="reviews",
    columns=pa.schema(
        [
            column("sub_id", pa.string(), "sub-caption that was read"),
            column("model", pa.string(), "model that read it"),
            column("prompt", pa.string(), "prompt; null: the answers are from a column", null=True),
            column("is_meta", pa.bool_(), "tells nothing visible, by the model"),
            column("dup_of", pa.string(), "sub_id of the sub-caption that it repeats, by the model", null=True),
        ]
    ),
    parent="sub_caption",
    description="sub-captions that a text model read for content and repetitions",
)


class ReviewSettings(Section):
    """What the answers are used for."""

    apply: bool = Field(True, description="The model's is_meta and dup_of replace those of annotation at build")


class ReviewTask(Task):
    """One request for each image that has sub-captions, with all of them as numbered sentences.

    The value has `empty`, the numbers of sentences without content, and `repeats`, pairs of a sentence and the first
    sentence that it repeats; both in order. An answer that names an unknown number, a repeat of a later sentence, or
    two originals of one sentence is invalid.
    """

    settings = ReviewSettings
    needs = frozenset({"text"})
    prompt = "review"
    variables = frozenset({"sentences", "starts"})
    required = frozenset({"sentences"})
    reads = frozenset({CAPTIONS})
    tables: ClassVar = {REVIEWS.name: REVIEWS}
    form: ClassVar = Output(json_schema=orjson.dumps(_ANSWER))
    options: ReviewSettings

    def identity(self) -> Mapping[str, Any]:
        """Empty: the setting applies at build."""
        return {}

    def output(self, unit: Unit | None) -> Output:
        return self.form

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        subs = [sub for _, sub in sub_captions(inputs)]
        starts = [number for number, sub in enumerate(subs, 1) if sub.idx == 0]
        return [Unit(variables={"sentences": [fold(sub.text) for sub in subs], "starts": starts})] if subs else []

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return parse_whole(completion, lambda text: self._parsed(len(unit.variables["sentences"]), text))

    def _parsed(self, number: int, answer: str) -> Parsed:
        found = value_of(self.form, answer)
        originals: dict[int, int] = {}
        for pair in sorted(found["repeats"], key=lambda pair: int(pair["sentence"])):
            sentence, of = int(pair["sentence"]), int(pair["of"])  # 3.0 is an integer of JSON Schema
            if sentence > number:
                raise ValueError(f"sentence {sentence} of `repeats` does not exist; there are {number}")
            if of >= sentence:
                raise ValueError(f"sentence {sentence} is said to repeat {of}, which is not an earlier one")
            if sentence in originals:
                raise ValueError(f"sentence {sentence} is listed twice in `repeats`")
            originals[sentence] = originals.get(of, of)
        empty = sorted({int(sentence) for sentence in found["empty"]})
        if empty and empty[-1] > number:
            raise ValueError(f"sentence {empty[-1]} of `empty` does not exist; there are {number}")
        repeats = [{"sentence": sentence, "of": of} for sentence, of in originals.items()]
        return Parsed(finish="stop", value={"empty": empty, "repeats": repeats})

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        ids = [sub.sub_id for _, sub in sub_captions(inputs)]
        made = list[dict[str, Any]]()
        for found in answers:
            if found.answer is None:
                continue
            value = value_in(found.answer)
            originals = {pair["sentence"]: ids[pair["of"] - 1] for pair in value["repeats"]}
            made += [
                {
                    "sub_id": sub_id,
                    "model": generation.model,
                    "prompt": generation.prompt,
                    "is_meta": number in value["empty"],
                    "dup_of": originals.get(number),
                }
                for number, sub_id in enumerate(ids, 1)
            ]
        return Rows(tables={REVIEWS.name: made})
