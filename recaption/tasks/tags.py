"""Task `tags`: what an image shows, as a list of tags by a multimodal model: any words, or a closed vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import orjson
import pyarrow as pa
from pydantic import Field

from recaption.schema import column
from recaption.section import OneOrMore, Section
from recaption.tasks.base import Inputs, Parsed, Rows, TableSpec, Task, Unit, UnitAnswer, value_in
from recaption.tasks.faults import parse_whole
from recaption.tasks.output import Output, value_of
from recaption.text import fold, normalise
from recaption.types import Completion, Generation, Image

_LONGEST: Final = 5  # words of an open tag
_ENUMERATED: Final = 500  # largest vocabulary that is part of the JSON schema; a larger one is checked afterwards

MODEL_TAGS: Final = TableSpec(
    name="model_tags",
    columns=pa.schema(
        [
            column("tag", pa.string(), "what the image shows; of a closed vocabulary, as written there"),
            column("rank", pa.int32(), "place in the answer, 0-based"),
            column("model", pa.string(), "model that saw it"),
        ]
    ),
    parent="image",
    description="tags of images by a model that saw them; the table tags has those of captions",
)


class TagsSettings(Section):
    """Which tags are allowed, and how many."""

    vocabulary: Annotated[tuple[str, ...], OneOrMore] = Field((), description="The only tags that are allowed")
    vocabulary_file: str | None = Field(None, description="Text file with the vocabulary, one tag in each line")
    most: int = Field(20, ge=1, le=200, description="Largest number of tags of an image; the first ones are kept")


class TagsTask(Task):
    """One request for each image. The value has its `tags`, each once.

    Tags that are not in the vocabulary are left out, and the detail of the attempt counts them. An answer without any
    usable tag is invalid, unless it is an empty list.
    """

    settings = TagsSettings
    prompt = "tags"
    variables = frozenset({"most", "vocabulary"})
    tables: ClassVar = {MODEL_TAGS.name: MODEL_TAGS}
    options: TagsSettings

    def __init__(self, options: TagsSettings) -> None:
        super().__init__(options)
        if options.vocabulary and options.vocabulary_file:
            raise ValueError("vocabulary and vocabulary_file are both set; remove one of them")
        named = _lines(options.vocabulary_file) if options.vocabulary_file else options.vocabulary
        tags = [fold(normalise(tag)) for tag in named]
        self._known = {tag.casefold(): tag for tag in tags}
        if not all(tags) or len(self._known) < len(tags):
            raise ValueError("the tags of the vocabulary must not be blank, and must differ in more than case")
        item: dict[str, Any] = {"type": "string"}
        if 0 < len(tags) <= _ENUMERATED:
            item = {"enum": tags}
        schema = {"type": "array", "items": item, "maxItems": options.most}
        self._output = Output(json_schema=orjson.dumps(schema))

    def identity(self) -> Mapping[str, Any]:
        """The content of the vocabulary, not its path."""
        vocabulary = hashlib.sha256("\n".join(self._known.values()).encode()).hexdigest() if self._known else None
        return {"vocabulary": vocabulary, "most": self.options.most}

    def output(self, unit: Unit | None) -> Output:
        return self._output

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        return [Unit(variables={"most": self.options.most, "vocabulary": list(self._known.values())})]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return parse_whole(completion, self._parsed)

    def _parsed(self, answer: str) -> Parsed:
        found = [fold(normalise(tag)).strip(" .,;:") for tag in value_of(self._output, answer)]
        tags: dict[str, str] = {}
        for tag in found:
            kept = self._known.get(tag.casefold()) if self._known else tag
            if kept and (self._known or len(kept.split()) <= _LONGEST):
                tags.setdefault(kept.casefold(), kept)
        dropped = [tag for tag in found if tag.casefold() not in tags]
        wrong = "are not in the vocabulary" if self._known else f"are blank or have more than {_LONGEST} words"
        detail = f"dropped {len(dropped)} of {len(found)} tags, which {wrong}: {dropped[0]!r:.100}" if dropped else None
        if found and not tags:
            return Parsed(finish="invalid", detail=detail)
        return Parsed(finish="stop", value={"tags": list(tags.values())}, detail=detail)

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        tags = [tag for found in answers if found.answer is not None for tag in value_in(found.answer)["tags"]]
        made = [{"tag": tag, "rank": rank, "model": generation.model} for rank, tag in enumerate(tags)]
        return Rows(tables={MODEL_TAGS.name: made})


def _lines(path: str) -> list[str]:
    """The lines of a text file that are not blank. Raises ValueError if there are none."""
    try:
        text = Path(path).expanduser().read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"vocabulary_file: {path} cannot be read: {error}. Name a text file in UTF-8") from None
    if not (lines := [line for line in text.splitlines() if line.strip()]):
        raise ValueError(f"vocabulary_file: {path} has no tags. Give one in each line")
    return lines
