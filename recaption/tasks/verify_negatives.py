"""Task `verify_negatives`: whether false sentences are false of the image, in one request per sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import pyarrow as pa

from recaption.schema import column
from recaption.tasks.base import Inputs, Parsed, Rows, TableSpec, Task, Unit, UnitAnswer, value_in
from recaption.tasks.negative_table import NEGATIVES
from recaption.tasks.output import Output
from recaption.tasks.verify import CHOICES, yes_or_no
from recaption.types import Completion, Generation, Image

VERIFIED_NEGATIVES: Final = TableSpec(
    name="verified_negatives",
    columns=pa.schema(
        [
            column("sub_id", pa.string(), "sub-caption that was changed"),
            column("text", pa.string(), "the changed text, as in the table negatives"),
            column("model", pa.string(), "model that verified it"),
            column("p_true", pa.float64(), "probability that the text is true of the image; of a good negative, low"),
            column("coverage", pa.float64(), "probability of yes or no; null: not known", null=True),
        ]
    ),
    parent="sub_caption",
    description="false sentences that a model verified; those without a row were not verified",
)


class VerifyNegativesTask(Task):
    """One yes/no question for each different text of the table `negatives`. The value is that of `VerifyTask`."""

    prompt = "is_it_true"
    variables = frozenset({"statement"})
    reads = frozenset({NEGATIVES.name})
    tables: ClassVar = {VERIFIED_NEGATIVES.name: VERIFIED_NEGATIVES}

    def output(self, unit: Unit | None) -> Output:
        return Output(choices=CHOICES, logprobs=True)

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        return [Unit(id=id, variables={"statement": row["text"]}) for id, row in _negatives(image, inputs).items()]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return yes_or_no(completion)

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        negatives = _negatives(image, inputs)
        made = [
            {
                "sub_id": negatives[found.unit.id]["sub_id"],
                "text": negatives[found.unit.id]["text"],
                "model": generation.model,
                **value_in(found.answer),
            }
            for found in answers
            if found.answer is not None and found.unit.id in negatives
        ]
        return Rows(tables={VERIFIED_NEGATIVES.name: made})


def _negatives(image: Image, inputs: Inputs) -> Mapping[str, Mapping[str, Any]]:
    """The different rows of `negatives` by the id of their unit, such as long/0#3:2."""
    different: dict[tuple[str, str], Mapping[str, Any]] = {}
    for upstream in inputs.values():
        for row in upstream.tables.get(NEGATIVES.name, ()):
            different.setdefault((row["sub_id"], row["text"]), row)
    ordered = enumerate(different.values())
    return {f"{row['sub_id'].removeprefix(f'{image.key}/')}:{n}": row for n, row in ordered}
