"""Task `class_texts`: descriptions of classes, by a text model. Its source is a list of classes without images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Final, Literal

import pyarrow as pa
from pydantic import Field

from recaption.schema import column
from recaption.tasks.base import Inputs, Parsed, Rows, TableSpec, Unit, UnitAnswer, value_in
from recaption.tasks.cleaning import published
from recaption.tasks.faults import parse_whole
from recaption.tasks.output import value_of
from recaption.tasks.several_texts import SeveralTextsSettings, SeveralTextsTask, first_usable
from recaption.tasks.wording import shared_ngrams, words_of
from recaption.text import fold
from recaption.types import Completion, Generation, Image

CLASS_TEXTS: Final = TableSpec(
    name="class_texts",
    columns=pa.schema(
        [
            column("class_name", pa.string(), "name of the class, as in the source"),
            column("rank", pa.int32(), "place in the answer, 0-based"),
            column("text", pa.string(), "a text about the class, in one line"),
            column("model", pa.string(), "model that wrote it"),
        ]
    ),
    parent="image",
    description="texts about classes; the rows of the source are classes and have no images",
)


class ClassTextsSettings(SeveralTextsSettings):
    """Number and form of the texts of a class."""

    n: int = Field(6, ge=1, le=100, description="Number of texts of a class")
    spare: int = Field(2, ge=0, le=20, description="Further texts in an answer, which replace unusable ones")
    overlap: float = Field(
        0.7, ge=0, le=1, description="Largest share of 3-word sequences that two texts of a class have in common"
    )
    most_words: int | None = Field(None, ge=1, description="Largest number of words of a text; default: no limit")
    name: Literal["any", "required", "forbidden"] = Field(
        "any", description="Whether each text contains the name of the class: required, forbidden, or any (not checked)"
    )


class ClassTextsTask(SeveralTextsTask):
    """One request for each class. The value has exactly n `texts`, all different. With fewer, the answer is invalid."""

    settings = ClassTextsSettings
    needs = frozenset({"text"})
    prompt = "class_texts"
    variables = frozenset({"class_name", "number", "most_words", "name"})
    tables: ClassVar = {CLASS_TEXTS.name: CLASS_TEXTS}
    options: ClassTextsSettings

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        variables: dict[str, Any] = {"class_name": image.source_key, "number": self.number, "name": self.options.name}
        return [Unit(id="class", variables={**variables, "most_words": self.options.most_words})]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return parse_whole(completion, lambda text: self._parsed(unit.variables["class_name"], text))

    def _parsed(self, name: str, answer: str) -> Parsed:
        texts = (fold(published(text).text) for text in value_of(self.form, answer))
        return Parsed(finish="stop", value={"texts": first_usable(texts, self.options.n, partial(self._problem, name))})

    def _problem(self, name: str, text: str, others: Sequence[str]) -> str | None:
        words = words_of(text)
        if not words:
            return "has no words"
        if words == words_of(name):
            return "is the name of the class"
        if self.options.most_words is not None and len(words) > self.options.most_words:
            return f"has {len(words)} words, and at most {self.options.most_words} are allowed"
        if self.options.name != "any" and (_is_in(words_of(name), words) != (self.options.name == "required")):
            return "lacks the name of the class" if self.options.name == "required" else "has the name of the class"
        if any(words == words_of(other) or shared_ngrams(text, other) > self.options.overlap for other in others):
            return "repeats another text"
        return None

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        texts = [text for found in answers if found.answer is not None for text in value_in(found.answer)["texts"]]
        made = [
            {"class_name": image.source_key, "rank": rank, "text": text, "model": generation.model}
            for rank, text in enumerate(texts)
        ]
        return Rows(tables={CLASS_TEXTS.name: made})


def _is_in(name: Sequence[str], words: Sequence[str]) -> bool:
    """Whether the words of a name are in a text, one after the other."""
    return any(list(words[at : at + len(name)]) == list(name) for at in range(len(words) - len(name) + 1))
