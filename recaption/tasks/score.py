"""Task `score`: the similarity of an image and its captions, sub-captions and objects, by a dual encoder."""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

import pyarrow as pa
from pydantic import Field, ValidationInfo, field_validator

from recaption.schema import column
from recaption.section import OneOrMore, Section
from recaption.tasks.base import CAPTIONS, Inputs, Parsed, Rows, TableSpec, Task, Unit, UnitAnswer, unit_id, value_in
from recaption.tasks.output import Output
from recaption.types import Caption, Completion, Generation, Image

SCORES: Final = TableSpec(
    name="scores",
    columns=pa.schema(
        [
            column("caption_id", pa.string(), "caption that was scored, or that has the sub-caption"),
            column("sub_id", pa.string(), "sub-caption that was scored, or that names the object", null=True),
            column("object", pa.string(), "lemma of the object that was scored", null=True),
            column("model", pa.string(), "model that scored it"),
            column("score", pa.float64(), "first number of the engine; dual_encoder: cosine of image and text"),
            column("logit", pa.float64(), "last number of the engine, if it gives several", null=True),
            column(
                "f_clip_score",
                pa.float64(),
                "mean of the logits of a caption or sub-caption and its objects; null: object, or not all are scored",
                null=True,
            ),
            column("is_cut", pa.bool_(), "the text is longer than the model's context, which ignores the rest"),
        ]
    ),
    parent="caption",
    description="similarity of the image and a caption, a sub-caption (sub_id), or an object in it (object)",
)

_Scored = Literal["captions", "sub_captions", "objects"]
_Embedded = Literal["images", "captions", "sub_captions"]
_EMBEDDING: Final = "embedding:"  # before the name of what a unit embeds


class ScoreSettings(Section):
    """What is scored, and what is embedded."""

    embed: Annotated[tuple[_Embedded, ...], OneOrMore] = Field((), description="images, captions, sub_captions")
    of: Annotated[tuple[_Scored, ...], OneOrMore] = Field(
        ("captions", "sub_captions", "objects"), description="captions, sub_captions, objects"
    )

    @field_validator("of")
    @classmethod
    def _something(cls, of: tuple[_Scored, ...], info: ValidationInfo) -> tuple[_Scored, ...]:
        if not of and not info.data.get("embed"):
            raise ValueError("nothing is scored and nothing is embedded; name captions, sub_captions or objects")
        return of


class ScoreTask(Task):
    """One request for each text. The value has the engine's numbers (`scores`), and `is_cut`.

    The texts are those of the tables: a sub-caption with its opener, an object as its lemma. The table has F-CLIPScore
    (arXiv:2502.20034): the mean of the logits of a text and its nouns, here the objects of a caption or
    sub-caption, each once.

    With `embed`, there are further requests, about the image alone and about texts alone.
    """

    settings = ScoreSettings
    prompt = "text"
    variables = frozenset({"text"})
    reads = frozenset({CAPTIONS})
    tables: ClassVar = {SCORES.name: SCORES}
    options: ScoreSettings

    def __init__(self, options: ScoreSettings) -> None:
        super().__init__(options)
        if {"captions", "sub_captions"} & set(options.embed):
            self.needs = frozenset({"image", "text"})

    def identity(self) -> Mapping[str, Any]:
        """The settings only decide which requests are sent."""
        return {}

    def output(self, unit: Unit | None) -> Output:
        return Output(scores=True, embeddings=bool(self.options.embed))

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        captions = [caption for upstream in inputs.values() for caption in upstream.captions]
        units = [Unit(id=f"{_EMBEDDING}image", embeds="image")] if "images" in self.options.embed else []
        for caption in captions:
            for kind, name, text in _texts(image.key, caption):
                if kind in self.options.embed and text.strip():
                    units.append(Unit(id=f"{_EMBEDDING}{name}", variables={"text": text}, embeds="text"))
                if kind in self.options.of and text.strip():
                    units.append(Unit(id=name, variables={"text": text}, crop=caption.box))
        return units

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        parsed = scores_of(completion)
        if unit.embeds is None or parsed.finish != "stop":
            return parsed
        scores = parsed.value["scores"]
        try:
            embedding = struct.pack(f"<{len(scores)}e", *scores)
        except OverflowError:
            return Parsed(finish="invalid", detail="the engine returned an embedding with a number above 65504")
        return Parsed(finish="stop", value={"is_cut": parsed.value["is_cut"]}, embedding=embedding)

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        made: list[dict[str, Any]] = []
        embeddings: dict[str, bytes] = {}
        logits = defaultdict[str, dict[str, float | None]](dict)  # of a text ("") and its objects, by the text's name
        for found in answers:
            if found.unit.embeds is not None:
                if found.answer is not None and found.answer.embedding is not None:
                    embeddings[_embedded_id(image.key, found.unit)] = found.answer.embedding
                continue
            name, _, lemma = found.unit.id.partition(":")
            caption = name.partition("#")[0]
            value = None if found.answer is None else value_in(found.answer)
            for text in {name, caption} if lemma else {name}:
                logits[text][lemma] = None if value is None else value["scores"][-1]
            if value is None:
                continue
            scores = value["scores"]
            row = {
                "caption_id": f"{image.key}/{caption}",
                "sub_id": f"{image.key}/{name}" if "#" in name else None,
                "object": lemma or None,
                "model": generation.model,
                "score": scores[0],
                "logit": scores[-1] if len(scores) > 1 else None,
                "f_clip_score": None,
                "is_cut": value["is_cut"],
            }
            made.append(row)
        if "objects" in self.options.of:
            for row in made:
                if row["object"] is None:
                    name = (row["sub_id"] or row["caption_id"]).removeprefix(f"{image.key}/")
                    row["f_clip_score"] = _mean([*logits[name].values()])
        return Rows(tables={SCORES.name: made}, embeddings=embeddings)


def scores_of(completion: Completion) -> Parsed:
    """The engine's numbers (`scores`), and `is_cut`: the text is longer than the model's context."""
    try:
        scores = [float(score) for score in completion.scores or ()]
    except (TypeError, ValueError):
        scores = []
    if completion.finish_reason not in ("stop", "length"):
        return Parsed(finish="error", detail=f"the engine ended with {completion.finish_reason!r}")
    if not scores or not all(map(math.isfinite, scores)):
        return Parsed(finish="invalid", detail=f"the engine returned the scores {completion.scores!r:.200}")
    return Parsed(finish="stop", value={"scores": scores, "is_cut": completion.finish_reason == "length"})


def _embedded_id(key: str, unit: Unit) -> str:
    """The key, caption_id or sub_id of what a unit embeds."""
    return key if unit.embeds == "image" else f"{key}/{unit.id.removeprefix(_EMBEDDING)}"


def _texts(key: str, caption: Caption) -> Iterator[tuple[_Scored, str, str]]:
    """The texts of a caption, each with the id of its unit: `long/0`, `long/0#3`, `long/0#3:kite`."""
    yield "captions", caption.caption_id.removeprefix(f"{key}/"), caption.text
    for sub in caption.sub_captions:
        name = unit_id(key, sub)
        yield "sub_captions", name, sub.text
        for lemma in dict.fromkeys(tag.lemma for tag in sub.objects):
            yield "objects", f"{name}:{lemma}", lemma


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) and known else None
