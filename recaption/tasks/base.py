"""What a task is: the kind of a generation. A module of `tasks/` has one task; `registry` lists them.

    image ── units ──► requests ── engine ──► completions ── parse ──► answers ── rows ──► captions, tables

The frame does the rest: it fills in prompts, finds stored answers, sends what is missing, retries, and writes tables.
All methods of a task are pure: the same arguments always give the same result, in any process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

import orjson
import pyarrow as pa

from recaption import schema
from recaption.section import Section
from recaption.tasks.output import TEXT, Output
from recaption.types import (
    Answer,
    Box,
    Caption,
    Completion,
    FinishReason,
    Generation,
    Granularity,
    Image,
    Modality,
    Reason,
    SubCaption,
)

CAPTIONS: Final = "captions"
"""The name in `Task.reads` for captions: what a task with `makes_captions` provides. Others provide their tables, by
name."""

Parent = Literal["image", "caption", "sub_caption"]
PARENT_COLUMNS: Final[Mapping[Parent, str | None]] = {
    "image": None,
    "caption": "caption_id",
    "sub_caption": "sub_id",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """What one request is about. `id` is unique among the units of a generation and an image.

    `variables` and the columns of the source fill in the prompt; a variable takes precedence over a column of its name.
    With a `crop`, the model is shown only this part of the upright image. `statement` is the text that a task with
    `Output.likelihood` has scored: see `engine.base.Request`. With `embeds`, the request is about the image without a
    prompt, or about the prompt without the image: see `Output.embeddings`.
    """

    id: str = ""  # "" the image · "long/0#3" a sub-caption: <generation>/<n>#<idx> · "boxes#2" a region
    variables: Mapping[str, Any] = field(default_factory=dict)  # JSON values
    crop: Box | None = None
    statement: str = ""
    embeds: Literal["image", "text"] | None = None


WHOLE_IMAGE: Final = Unit()


@dataclass(frozen=True, kw_only=True, slots=True)
class Parsed:
    """The result of `Task.parse`: a value, or a fault.

    A completion with `finish` "stop" or "length" becomes an answer, unless the retry settings list that finish reason.
    Any other completion is a fault: the request is sent again and, after the last attempt, becomes a reject with
    `reason` (default: that of the finish reason) and `detail`.
    """

    finish: FinishReason
    value: Any = None  # JSON; stored with the answer
    embedding: bytes | None = None  # float16, little-endian; stored with the answer
    reason: Reason | None = None
    detail: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitAnswer:
    """A unit with its answer. None if it was rejected, or if its caption was split differently at that time."""

    unit: Unit
    answer: Answer | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Upstream:
    """What one generation of `over` has for an image.

    `captions` are those that its task makes, split and tagged by the settings of the pipeline; sub-captions are
    compared with the others of this generation only (`dup_of`). `tables` are the rows that its task makes. `inputs` are
    what that generation itself reads.
    """

    generation: Generation
    answers: tuple[UnitAnswer, ...]
    captions: tuple[Caption, ...] = ()
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    inputs: Mapping[str, Upstream] = field(default_factory=dict)


Inputs = Mapping[str, Upstream]  # by the id of the generation
NO_INPUTS: Final[Inputs] = {}


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSpec:
    """A table that a task or `annotate.tables` adds to a build, as `<name>/<shard>.parquet` sorted by key.

    `columns` are those of the rows in `Rows.tables`. The frame puts `key` and `generation` in front of them. Tables of
    `annotate.tables` are not `generated`: they begin with `sub_id` and `key`, without `generation`. A table
    with parent "caption" has a column `caption_id`, one with parent "sub_caption" a column `sub_id`. Each column has
    its description in the metadata of its field (see `schema.column`).
    """

    name: str
    columns: pa.Schema
    parent: Parent
    description: str
    generated: bool = True

    def __post_init__(self) -> None:
        """Raises ValueError for a name or columns that a build cannot have."""
        if not schema.TABLE_NAME.fullmatch(self.name) or self.name in schema.RESERVED:
            raise ValueError(
                f"the table name {self.name!r} is not allowed; allowed: 1 to 32 lower-case letters, digits and _, "
                f"starting with a letter, except {', '.join(sorted(schema.RESERVED))}"
            )
        names = self.columns.names
        if len(set(names)) < len(names) or {"key", "generation"} & set(names):
            raise ValueError(f"table {self.name}: its columns {names} repeat, or are key or generation. Rename them")
        if self.parent_column is not None and self.parent_column not in names:
            raise ValueError(
                f"table {self.name}: its parent is {self.parent}, so it needs a column {self.parent_column}"
            )
        for column in self.columns:
            try:
                schema.arrow_type(str(column.type))
            except ValueError as error:
                raise ValueError(f"table {self.name}, column {column.name}: {error}") from error

    @property
    def all_columns(self) -> pa.Schema:
        """The columns in the file."""
        if self.generated:
            return schema.task_table(self.name, self.columns)
        return schema.custom_table(self.name, pa.schema([one for one in self.columns if one.name != "sub_id"]))

    @property
    def parent_column(self) -> str | None:
        """The column with the id of what a row is about; None if it is about the image."""
        return PARENT_COLUMNS[self.parent]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What a generation adds to a build for one image: captions, rows by table, and embeddings by id.

    An id is a key, a caption_id or a sub_id; an embedding is float16, little-endian. Only a task with
    `Output.embeddings` has any. The manifest has the sums of `counts` over all images.
    """

    captions: tuple[Caption, ...] = ()
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    embeddings: Mapping[str, bytes] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


class NoSettings(Section):
    """For a task without settings of its own."""


class Task:
    """The base of all tasks. An instance is made from its settings; it is pickled and sent to all processes.

    A subclass overrides what it needs. By default, a task asks once about the whole image and expects text.
    """

    version: ClassVar[str] = "1"
    """Part of the fingerprint. Raise it when `units` or `parse` change, so that answers are made anew."""
    needs: frozenset[Modality] = frozenset({"image"})
    """Requests with an image, or text only. Compared with the engine's `accepts` when the run is planned.

    Like `prompt` and `reads`, `__init__` may set it from the settings, as an attribute of the instance.
    """
    settings: ClassVar[type[Section]] = NoSettings
    """The keys of the pipeline file that belong to this task."""
    prompt: str | None = None
    """The shipped prompt that a generation without `prompt` uses."""
    variables: frozenset[str] = frozenset()
    """The variables of its units. A prompt of this task has to use at least one of them, if there are any."""
    required: frozenset[str] = frozenset()
    """Those of the variables that every prompt of this task has to use."""
    source_columns: frozenset[str] = frozenset()
    """Columns that the source has to have; checked when the run is planned."""
    reads: frozenset[str] = frozenset()
    """What it reads of the generations in `over`: CAPTIONS, or names of tables. Empty: it has no `over`."""
    makes_captions: ClassVar[bool] = False
    granularity: ClassVar[Granularity | None] = None
    """Granularity of its captions. None: that of the generation or its prompt."""
    keeps_granularity: bool = False
    """Whether each caption keeps the granularity of the caption that it is made from. If those captions all have the
    same granularity, it is also that of the generation."""
    tables: ClassVar[Mapping[str, TableSpec]] = {}

    def __init__(self, options: Section) -> None:
        """`options`: an instance of `settings`. Raises ValueError for settings that do not fit together."""
        self.options = options

    def identity(self) -> Mapping[str, Any]:
        """The settings that determine the answers: part of the fingerprint. JSON values. Default: all of them."""
        return self.options.model_dump(mode="json")

    def output(self, unit: Unit | None) -> Output:
        """The form of the answer about a unit.

        `unit` is None when the run is planned, before there are units. The engine has to support that form. The forms
        of units may differ from it only in their choices or JSON schema.
        """
        return TEXT

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        """What is asked about an image. `inputs` has an entry for each generation of `over`."""
        return (WHOLE_IMAGE,)

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        """The value in a completion, or what is wrong with it. Never raises."""
        raise NotImplementedError

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        """What a build stores for these answers, which are in the order of the units."""
        raise NotImplementedError

    def has_result(self, answers: Sequence[UnitAnswer], rows: Rows) -> bool:
        """Whether an image has what `output.require` demands of this task. Default: at least one unit has an answer.

        `rows` are those made of the answers.
        """
        return any(found.answer is not None for found in answers)


def sub_id(key: str, unit: Unit) -> str:
    """The sub_id of a unit that is about a sub-caption."""
    return f"{key}/{unit.id}"


def unit_id(key: str, sub: SubCaption) -> str:
    """The id of the unit that is about a sub-caption: the inverse of `sub_id`."""
    return sub.sub_id.removeprefix(f"{key}/")


def sub_captions(inputs: Inputs) -> Iterator[tuple[Caption, SubCaption]]:
    """All sub-captions of `inputs` with their captions, in order."""
    for upstream in inputs.values():
        for caption in upstream.captions:
            for sub in caption.sub_captions:
                yield caption, sub


def value_in(answer: Answer) -> Any:
    """What `Task.parse` found: `Parsed.value`."""
    return None if answer.value is None else orjson.loads(answer.value)
