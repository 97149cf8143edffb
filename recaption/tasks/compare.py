"""Task `compare`: which of two captions describes an image better. `recaption compare` makes its source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import pyarrow as pa

from recaption.schema import column
from recaption.tasks.base import Inputs, Parsed, Rows, TableSpec, Task, Unit, UnitAnswer, value_in
from recaption.tasks.output import Output
from recaption.tasks.two_choices import of_two
from recaption.types import Completion, Generation, Image

CAPTION_A: Final = "caption_a"
CAPTION_B: Final = "caption_b"
"""Columns of the source."""
_CHOICES: Final = ("1", "2")
_ORDERS: Final = ("ab", "ba")  # ids of the units

COMPARISONS: Final = TableSpec(
    name="comparisons",
    columns=pa.schema(
        [
            column("model", pa.string(), "model that judged"),
            column("prompt", pa.string(), "prompt", null=True),
            column(
                "winner",
                pa.string(),
                "a | b: preferred in both orders; tie: the orders disagree; equal: equal texts, which are not judged; "
                "null: an order has no answer",
                null=True,
            ),
            column("p_a_first", pa.float64(), "probability that A is better, when A is shown first", null=True),
            column("p_b_first", pa.float64(), "probability that A is better, when B is shown first", null=True),
            column("caption_a", pa.string(), "the caption of A"),
            column("caption_b", pa.string(), "the caption of B"),
            column("words_a", pa.int32(), "words of A"),
            column("words_b", pa.int32(), "words of B"),
        ]
    ),
    parent="image",
    description="pairs of captions of an image that a model compared in both orders",
)


class CompareTask(Task):
    """Two requests for each image, one in each order of the captions. Equal captions are not judged.

    The value has `p_first`, the probability that the first caption is better, and `coverage`: see `choice.of_two`.
    """

    prompt = "better_caption"
    variables = frozenset({"first", "second"})
    required = variables
    source_columns = frozenset({CAPTION_A, CAPTION_B})
    tables: ClassVar = {COMPARISONS.name: COMPARISONS}

    def output(self, unit: Unit | None) -> Output:
        return Output(choices=_CHOICES, logprobs=True)

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        if missing := _missing(image):
            raise ValueError(f"the image has no value in the column {missing}")
        a, b = _captions(image)
        if a == b:
            return ()
        return [
            Unit(id=order, variables={"first": first, "second": second})
            for order, (first, second) in zip(_ORDERS, ((a, b), (b, a)), strict=True)
        ]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return of_two(completion, _CHOICES, "p_first")

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        if _missing(image):  # a value may be missing for an image; `units` rejects such an image
            return Rows()
        p = {found.unit.id: value_in(found.answer)["p_first"] for found in answers if found.answer is not None}
        a_first, b_first = p.get("ab"), 1 - p["ba"] if "ba" in p else None
        a, b = _captions(image)
        row: dict[str, Any] = {
            "model": generation.model,
            "prompt": generation.prompt,
            "winner": "equal" if a == b else winner(a_first, b_first),
            "p_a_first": a_first,
            "p_b_first": b_first,
            "caption_a": a,
            "caption_b": b,
            "words_a": len(a.split()),
            "words_b": len(b.split()),
        }
        return Rows(tables={COMPARISONS.name: [row]})

    def has_result(self, answers: Sequence[UnitAnswer], rows: Rows) -> bool:
        """Equal captions need no answer."""
        return not answers or super().has_result(answers, rows)


def winner(a_first: float | None, b_first: float | None) -> str | None:
    """a or b if it is preferred in both orders, else tie. The arguments are probabilities that A is better.

    With one order alone, a model's preference for the first caption would decide.
    """
    if a_first is None or b_first is None:
        return None
    if min(a_first, b_first) > 0.5:
        return "a"
    return "b" if max(a_first, b_first) < 0.5 else "tie"


def _missing(image: Image) -> str | None:
    """The column in which the image has no value, if there is one."""
    return next((name for name in (CAPTION_A, CAPTION_B) if image.columns.get(name) is None), None)


def _captions(image: Image) -> tuple[str, str]:
    return str(image.columns[CAPTION_A]), str(image.columns[CAPTION_B])
