"""Task `negatives`: false sentences that differ from a sub-caption in one thing, by rules or by a text model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import orjson
from pydantic import Field

from recaption.section import Section
from recaption.tasks.base import (
    CAPTIONS,
    Inputs,
    Parsed,
    Rows,
    Task,
    Unit,
    UnitAnswer,
    sub_captions,
    sub_id,
    unit_id,
    value_in,
)
from recaption.tasks.changes import CATEGORIES, WORD, Category, Change, difference, formed_like
from recaption.tasks.faults import parse_whole
from recaption.tasks.negative_table import NEGATIVES, row_of
from recaption.tasks.output import TEXT, Output, value_of
from recaption.tasks.rule_changes import VERSION as RULES_VERSION
from recaption.tasks.rule_changes import rule_changes
from recaption.tasks.verify import has_content
from recaption.text import fold, normalise
from recaption.types import Completion, Generation, Image


class NegativesSettings(Section):
    """Number, kinds and method of the sentences."""

    method: Literal["rules", "model"] = Field(
        "rules", description="rules: from the tags, without requests; model: by a text model"
    )
    n: int = Field(
        10, ge=1, le=50, description="Number of sentences for each sub-caption; with rules, at most this many"
    )
    spare: int = Field(2, ge=0, le=20, description="model: further sentences in an answer, which replace unusable ones")
    categories: tuple[Category, ...] = Field(CATEGORIES, min_length=1, description=", ".join(CATEGORIES))


class NegativesTask(Task):
    """One request for each sub-caption with method `model`, and none with `rules`. The value has exactly n `changes`.

    Each text has to differ from the sub-caption in one thing, and from the others. An answer with fewer than n such
    texts is invalid.
    """

    settings = NegativesSettings
    needs = frozenset({"text"})
    prompt = "negatives"
    variables = frozenset({"statement", "number", "categories"})
    reads = frozenset({CAPTIONS})
    tables: ClassVar = {NEGATIVES.name: NEGATIVES}
    options: NegativesSettings

    def identity(self) -> Mapping[str, Any]:
        """Rules apply at build: a change of the rules makes a new build."""
        if self.options.method == "rules":
            return {"method": "rules", "rules": RULES_VERSION}
        return self.options.model_dump(mode="json")

    def __init__(self, options: NegativesSettings) -> None:
        super().__init__(options)
        self._number = options.n + options.spare
        by_model = options.method == "model"
        self._output = _output(options.n, self._number, options.categories) if by_model else TEXT
        if not by_model:
            self.needs = frozenset()

    def output(self, unit: Unit | None) -> Output:
        return self._output

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        if self.options.method == "rules":
            return ()
        variables = {"number": self._number, "categories": list(self.options.categories)}
        return [
            Unit(id=unit_id(image.key, sub), variables={"statement": fold(sub.text), **variables})
            for _, sub in sub_captions(inputs)
            if has_content(sub)
        ]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return parse_whole(completion, lambda text: self._parsed(unit, text))

    def _parsed(self, unit: Unit, answer: str) -> Parsed:
        kept, problems = dict[str, Change](), list[str]()
        for item in value_of(self._output, answer):
            text = formed_like(unit.variables["statement"], fold(normalise(item["text"])))
            try:
                change = difference(unit.variables["statement"], text, item["category"])
            except ValueError as error:
                problems.append(str(error))
            else:
                if change.category not in self.options.categories:
                    problems.append(f"{text!r} is a change of {change.category}, which categories lacks")
                    continue
                kept.setdefault(" ".join(WORD.findall(text.casefold())), change)
        if len(kept) < self.options.n:
            problem = problems[0] if problems else "the others repeat these"
            detail = f"{len(kept)} of {self.options.n} sentences can be used: {problem}"
            return Parsed(finish="invalid", detail=detail)
        return Parsed(finish="stop", value={"changes": [row_of(change) for change in kept.values()][: self.options.n]})

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        made = [
            {"sub_id": sub_id(image.key, found.unit), **change, "method": "model"}
            for found in answers
            if found.answer is not None
            for change in value_in(found.answer)["changes"]
        ]
        if self.options.method == "rules":
            made = [*self._by_rules(inputs)]
        return Rows(tables={NEGATIVES.name: made})

    def has_result(self, answers: Sequence[UnitAnswer], rows: Rows) -> bool:
        """Whether the table has rows. Answers do not show it: with method `rules`, there are no units."""
        return bool(rows.tables[NEGATIVES.name])

    def _by_rules(self, inputs: Inputs) -> Sequence[dict[str, Any]]:
        captions = [caption.text.casefold() for upstream in inputs.values() for caption in upstream.captions]
        known = frozenset(word for text in captions for word in WORD.findall(text))
        return [
            {"sub_id": sub.sub_id, **row_of(change), "method": "rules"}
            for _, sub in sub_captions(inputs)
            if has_content(sub)
            for change in rule_changes(sub, known, self.options.categories, self.options.n)
        ]


def _output(fewest: int, most: int, categories: Sequence[Category]) -> Output:
    item = {
        "type": "object",
        "properties": {"text": {"type": "string"}, "category": {"enum": list(categories)}},
        "required": ["text", "category"],
        "additionalProperties": False,
    }
    return Output(json_schema=orjson.dumps({"type": "array", "items": item, "minItems": fewest, "maxItems": most}))
