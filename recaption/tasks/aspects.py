"""Task `aspects`: what a caption states about each aspect of an ontology, by a text model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

import orjson
import pyarrow as pa
from pydantic import Field

from recaption.schema import column
from recaption.section import Section
from recaption.tasks import ontology
from recaption.tasks.base import CAPTIONS, Inputs, Parsed, Rows, TableSpec, Task, Unit, UnitAnswer, value_in
from recaption.tasks.caption import captions_by_unit, reworded
from recaption.tasks.cleaning import published
from recaption.tasks.faults import parse_whole
from recaption.tasks.ontology import Aspect
from recaption.tasks.output import Output, value_of
from recaption.types import Caption, Completion, Generation, Image

ASPECTS: Final = TableSpec(
    name="aspects",
    columns=pa.schema(
        [
            column("caption_id", pa.string(), "caption that was read"),
            column("aspect", pa.string(), "name in the ontology; each caption has a row for each aspect"),
            column("is_valid", pa.bool_(), "the caption states something about the aspect"),
            column("text", pa.string(), "the answer: a text, or the values and their ancestors", null=True),
            column(
                "values",
                pa.list_(pa.string()),
                "values of the ontology; empty for an aspect without values, or if not valid",
            ),
            column("ancestors", pa.list_(pa.string()), "parents of the values, and their parents; the nearest first"),
            column("made_caption", pa.string(), "caption that was made from the text", null=True),
        ]
    ),
    parent="caption",
    description="what captions state about the aspects of an ontology",
)


class AspectsSettings(Section):
    """The ontology."""

    ontology: str = Field(description="YAML file with the aspects and their values")


class AspectsTask(Task):
    """One request for each caption. The value has a text or a list of values for each aspect, or null.

    Null: the caption states nothing about the aspect, and the model answered with its sentinel (`Aspect.none`). A value
    that the ontology lacks, and a sentinel together with values, make the answer invalid.
    """

    settings = AspectsSettings
    needs = frozenset({"text"})
    prompt = "aspects"
    variables = frozenset({"caption", "aspects"})
    reads = frozenset({CAPTIONS})
    makes_captions = True
    granularity = "aspect"
    tables: ClassVar = {ASPECTS.name: ASPECTS}
    options: AspectsSettings

    def __init__(self, options: AspectsSettings) -> None:
        super().__init__(options)
        self._aspects = ontology.load(options.ontology).aspects
        schema = {
            "type": "object",
            "properties": {name: _schema(aspect) for name, aspect in self._aspects.items()},
            "required": list(self._aspects),
            "additionalProperties": False,
        }
        self._output = Output(json_schema=orjson.dumps(schema))

    def identity(self) -> Mapping[str, Any]:
        """The content of the file, not its path. Parents apply at build."""
        kept = {"description", "values", "most", "none"}
        return {name: {**a.model_dump(include=kept), "values": list(a.values)} for name, a in self._aspects.items()}

    def output(self, unit: Unit | None) -> Output:
        return self._output

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        aspects = [
            {"name": name, "description": a.description, "values": list(a.values), "none": a.none}
            for name, a in self._aspects.items()
        ]
        captions = captions_by_unit(image, inputs)
        return [Unit(id=id, variables={"caption": c.text, "aspects": aspects}) for id, c in captions.items()]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return parse_whole(completion, self._parsed)

    def _parsed(self, answer: str) -> Parsed:
        found = value_of(self._output, answer)
        stated = {name: _stated(name, aspect, found[name]) for name, aspect in self._aspects.items()}
        return Parsed(finish="stop", value=stated)

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        captions, rows, made = captions_by_unit(image, inputs), list[dict[str, Any]](), list[Caption]()
        for found in answers:
            caption = captions.get(found.unit.id)
            if found.answer is None or caption is None:
                continue
            stated = value_in(found.answer)
            for name, aspect in self._aspects.items():
                row = _row(caption, name, aspect, stated[name])
                if row["is_valid"]:
                    new = reworded(caption, generation, image.key, len(made), row["text"])
                    made.append(replace(new, granularity="aspect", aspect=name, finish_reason="stop"))
                    row["made_caption"] = made[-1].caption_id
                rows.append(row)
        return Rows(captions=tuple(made), tables={ASPECTS.name: rows})


def _schema(aspect: Aspect) -> dict[str, Any]:
    if not aspect.values:
        return {"type": "string"}
    values = {"enum": [*aspect.values, aspect.none]}
    return {"type": "array", "items": values, "minItems": 1, "maxItems": aspect.most}


def _stated(name: str, aspect: Aspect, found: Any) -> Any:
    """The text or the values of an aspect; None for its sentinel.

    Raises ValueError if the sentinel is among values or in a text, and for an empty text.
    """
    if isinstance(found, list):
        values = list(dict.fromkeys(found))
        if aspect.none in values and len(values) > 1:
            raise ValueError(f"{name} has both {aspect.none!r} and values: {', '.join(values)}")
        return None if aspect.none in values else values
    if found.strip().casefold() == aspect.none.casefold():
        return None
    text = published(found).text
    if not text:
        raise ValueError(f"{name} is empty; if nothing is stated, the answer must be {aspect.none!r}")
    if aspect.none in text:
        raise ValueError(f"{name} has both {aspect.none!r} and a text: {text[:100]!r}")
    return text


def _row(caption: Caption, name: str, aspect: Aspect, stated: Any) -> dict[str, Any]:
    values = stated if isinstance(stated, list) else []
    above = dict.fromkeys(each for value in values for each in aspect.ancestors(value) if each not in values)
    return {
        "caption_id": caption.caption_id,
        "aspect": name,
        "is_valid": stated is not None,
        "text": ", ".join((*values, *above)) if values else stated,
        "values": values,
        "ancestors": list(above),
        "made_caption": None,
    }
