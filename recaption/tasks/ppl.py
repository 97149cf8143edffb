"""Task `ppl`: how probable captions are as texts, by a language model that does not see the image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import pyarrow as pa
from pydantic import Field

from recaption.schema import column
from recaption.section import Section
from recaption.tasks.base import CAPTIONS, Inputs, Parsed, Rows, TableSpec, Task, Unit, UnitAnswer, value_in
from recaption.tasks.caption import captions_by_unit
from recaption.tasks.output import Output
from recaption.types import Completion, Generation, Image

_DIGITS: Final = 4  # decimals of a log-probability

PPL: Final = TableSpec(
    name="ppl",
    columns=pa.schema(
        [
            column("caption_id", pa.string(), "caption that was scored"),
            column("model", pa.string(), "language model"),
            column("ppl", pa.float64(), "perplexity: exp of the mean negative log-probability of its tokens"),
            column("logprobs", pa.list_(pa.float32()), "natural logarithm of the probability of each token"),
            column("nbytes", pa.list_(pa.int32()), "bytes of UTF-8 that each token has of the text"),
        ]
    ),
    parent="caption",
    description="log-probabilities of the tokens of captions, by a language model without the image",
)


class PplSettings(Section):
    """Which captions are scored."""

    raw: bool = Field(False, description="Score the raw captions of the source; must not have over")


class PplTask(Task):
    """One request for each caption, without generated text. The value has `logprobs` and `nbytes` of its tokens.

    `nbytes` sums to the length of the text that the tokenizer decodes. The first token has a probability too, because
    the tokens of the chat template or the prompt are in front of it.
    """

    settings = PplSettings
    needs = frozenset({"text"})
    prompt = "text"
    variables = frozenset({"text"})
    reads = frozenset({CAPTIONS})
    tables: ClassVar = {PPL.name: PPL}
    options: PplSettings

    def __init__(self, options: PplSettings) -> None:
        super().__init__(options)
        if options.raw:
            self.reads = frozenset()

    def identity(self) -> Mapping[str, Any]:
        """Empty: the settings only decide which requests are sent."""
        return {}

    def output(self, unit: Unit | None) -> Output:
        return Output(likelihood=True)

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        captions = captions_by_unit(image, inputs, raw=self.options.raw)
        return [Unit(id=id, variables={"text": c.text}, statement=c.text) for id, c in captions.items()]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        if completion.finish_reason not in ("stop", "length"):
            return Parsed(finish="error", detail=f"the engine ended with {completion.finish_reason!r}")
        found = completion.logprobs
        if found is None or not found.tokens or len(found.tokens) != len(found.nbytes):
            return Parsed(finish="invalid", detail="the engine returned no log-probabilities of the caption's tokens")
        if not all(map(math.isfinite, found.tokens)):
            return Parsed(finish="invalid", detail="a log-probability of the caption's tokens is not finite")
        logprobs = [round(min(value, 0.0), _DIGITS) for value in found.tokens]
        return Parsed(finish="stop", value={"logprobs": logprobs, "nbytes": list(found.nbytes)})

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        made = [
            {
                "caption_id": f"{image.key}/{found.unit.id}",
                "model": generation.model,
                "ppl": math.exp(min(-math.fsum(value["logprobs"]) / len(value["logprobs"]), 700.0)),
                **value,
            }
            for found in answers
            if found.answer is not None
            for value in (value_in(found.answer),)
        ]
        return Rows(tables={PPL.name: made})
