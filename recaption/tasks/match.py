"""Task `match`: the texts of its class that fit an image best, by the scores of a dual encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import pyarrow as pa
import pyarrow.dataset as ds
from pydantic import Field

from recaption.errors import in_words
from recaption.schema import column
from recaption.section import Section
from recaption.tasks.base import Inputs, Parsed, Rows, TableSpec, Task, Unit, UnitAnswer, value_in
from recaption.tasks.output import Output
from recaption.tasks.score import scores_of
from recaption.types import Completion, Generation, Image

MATCHES: Final = TableSpec(
    name="matches",
    columns=pa.schema(
        [
            column("class_name", pa.string(), "class of the image"),
            column("text", pa.string(), "a text about the class"),
            column("rank", pa.int32(), "place by score, 0-based"),
            column("model", pa.string(), "model that scored it"),
            column("score", pa.float64(), "first number of the engine; dual_encoder: cosine of image and text"),
            column("is_cut", pa.bool_(), "the text is longer than the model's context, which ignores the rest"),
        ]
    ),
    parent="image",
    description="texts about the class of an image, those that fit it best first",
)


NO_TEXTS: Final = "has no texts of the class "
"""In the detail of a reject: an image of a class without texts. The name of the class follows."""


class MatchSettings(Section):
    """The texts, and the class of an image."""

    texts: str = Field(
        description="Folder or file of Parquet with class_name and text: the table class_texts of a build"
    )
    class_column: str = Field(description="Column of the source with the name of the image's class")
    most: int = Field(5, ge=1, description="Number of texts of an image in the table: those with the highest scores")


class MatchTask(Task):
    """One request for each text of the image's class. The value has the engine's numbers (`scores`), and `is_cut`.

    An image of a class without texts has no units: its request is rejected.
    """

    settings = MatchSettings
    prompt = "text"
    variables = frozenset({"text"})
    tables: ClassVar = {MATCHES.name: MATCHES}
    options: MatchSettings

    def __init__(self, options: MatchSettings) -> None:
        super().__init__(options)
        self._texts = _texts_by_class(options.texts)
        self.source_columns = frozenset({options.class_column})

    def identity(self) -> Mapping[str, Any]:
        """The settings only decide which requests are sent, or apply at build."""
        return {}

    def output(self, unit: Unit | None) -> Output:
        return Output(scores=True)

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        if image.columns.get(self.options.class_column) is None:
            raise ValueError(f"column {self.options.class_column!r} is null: add the class of this image to the source")
        texts = self._texts.get(self._class(image), ())
        if not texts:
            raise ValueError(f"{self.options.texts} {NO_TEXTS}{self._class(image)!r}")
        return [Unit(id=f"text#{n}", variables={"text": text}) for n, text in enumerate(texts)]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return scores_of(completion)

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        scored = [
            (found.unit.variables["text"], value_in(found.answer)) for found in answers if found.answer is not None
        ]
        scored.sort(key=lambda pair: -pair[1]["scores"][0])
        made = [
            {
                "class_name": self._class(image),
                "text": text,
                "rank": rank,
                "model": generation.model,
                "score": value["scores"][0],
                "is_cut": value["is_cut"],
            }
            for rank, (text, value) in enumerate(scored[: self.options.most])
        ]
        return Rows(tables={MATCHES.name: made})

    def _class(self, image: Image) -> str:
        return str(image.columns.get(self.options.class_column))


def _texts_by_class(path: str) -> Mapping[str, Sequence[str]]:
    """The texts of each class, each once. Raises ValueError if the table cannot be read or lacks a column."""
    where = Path(path).expanduser()
    try:
        table = ds.dataset(where, format="parquet").to_table(columns=["class_name", "text"])
    except (OSError, ValueError, pa.ArrowException) as error:
        reason = in_words(error) if isinstance(error, OSError) else str(error).splitlines()[0][:100]
        raise ValueError(
            f"texts: {path} cannot be read: {reason}. Name a folder or file of Parquet with the columns "
            "class_name and text, such as out/classes/dataset/class_texts"
        ) from None
    found: dict[str, dict[str, None]] = {}
    for name, text in zip(table["class_name"].to_pylist(), table["text"].to_pylist(), strict=True):
        if name and text and text.strip():
            found.setdefault(name, {})[text] = None
    if not found:
        raise ValueError(f"texts: {path} has no texts. Build the classes first")
    return {name: tuple(texts) for name, texts in found.items()}
