"""Tables and captions of tasks that exporters need, and examples of the generations that make them.

If several generations make a table, the option `map` chooses one: TABLE=GENERATION.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from recaption.errors import UserError
from recaption.export.base import Options, refuse_fill
from recaption.export.dataset import Dataset, Select


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """A table of a task, its columns that are read, and an example of a `generation` that makes it."""

    table: str
    task: str
    columns: tuple[str, ...]
    generation: str  # as in a pipeline file
    verified_in: str | None = None  # the table with p_true; texts that are true by it are left out

    def made_by(self, generation: str) -> Select:
        """The rows that a generation made."""
        return Select(columns=self.columns, generations={generation}, verified_in=self.verified_in)


BOX: Final = ("x0", "y0", "x1", "y1")
"""The columns with the corners of a box."""
REGIONS: Final = Need(
    table="regions",
    task="regions",
    columns=("region_id", "sub_id", "phrase", *BOX, "is_point", "score", "rank"),
    generation="{id: boxes, model: MODEL, task: regions, over: long}",
)
NEGATIVES: Final = Need(
    table="negatives",
    task="negatives",
    columns=("sub_id", "text", "category"),
    generation="{id: hard, model: MODEL, task: negatives, over: long}",
    verified_in="verified_negatives",
)
SCORES: Final = Need(
    table="scores",
    task="score",
    columns=("sub_id", "object", "score"),
    generation="{id: scores, model: MODEL, task: score, over: long}",
)
CLASS_TEXTS: Final = Need(
    table="class_texts",
    task="class_texts",
    columns=("text",),
    generation="{id: texts, model: MODEL, task: class_texts}",
)
MATCHES: Final = Need(
    table="matches",
    task="match",
    columns=("class_name", "text", "rank"),
    generation="{id: fit, model: MODEL, task: match, texts: CLASSES/dataset/class_texts, class_column: COLUMN}",
)
ASPECTS: Final = Need(
    table="aspects",
    task="aspects",
    columns=("caption_id", "aspect", "is_valid", "text"),
    generation="{id: about, model: MODEL, task: aspects, over: long, ontology: FILE}",
)
OCR: Final = Need(table="ocr", task="ocr", columns=("text", *BOX), generation="{id: texts, model: MODEL, task: ocr}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Translations:
    """Captions of task `translate`."""

    task: str = "translate"

    def example(self, lang: str) -> str:
        """An example of a generation that makes captions in this language."""
        return f"{{id: {lang}, model: MODEL, task: {self.task}, over: long, lang: {lang}}}"


TRANSLATION: Final = Translations()


def maker(dataset: Dataset, options: Options, need: Need) -> str | None:
    """The generation whose rows of the table are used: the one in `map`, or the first; None if there is none.

    Raises UserError if the one in `map` does not make the table.
    """
    makers = dataset.makers(need.table, need.task)
    given = options.map.get(need.table)
    if given is None:
        return makers[0] if makers else None
    if given not in makers:
        known = ", ".join(makers) or "none"
        raise UserError(f"map {need.table}={given}: no generation {given!r} makes this table; allowed: {known}")
    return given


def required(dataset: Dataset, options: Options, need: Need) -> str:
    """As `maker`. Raises UserError if there is none; its message shows what to add to the pipeline."""
    found = maker(dataset, options, need)
    if found is None:
        raise UserError(absent(dataset, f"no {need.table}", need.generation))
    return found


def only_table(dataset: Dataset, options: Options, need: Need) -> str:
    """As `required`, for a format that takes all texts from this table. Other names in --map are a UserError too."""
    refuse_fill(options)
    if texts_only(options, need).map:
        raise UserError(f"the only name allowed in --map is {need.table}: all texts follow from this table")
    return required(dataset, options, need)


def required_tables(dataset: Dataset, *tables: str) -> dict[str, Select]:
    """Tables that `annotate.tables` makes, for `rows.ExportFiles`. Raises UserError if the build lacks one."""
    lacking = [table for table in tables if not dataset.has_table(table)]
    if lacking:
        raise UserError(
            f"{dataset.name} has no table {', '.join(lacking)}. Add to its pipeline:\n"
            f"  annotate: {{tables: [{', '.join(tables)}]}}\n"
            "and run recaption build PIPELINE, which sends no requests to models. Then export the new build"
        )
    return dict.fromkeys(tables, Select())


def require_translations(dataset: Dataset) -> None:
    """Raises UserError, with what to add to the pipeline, if no generation translates."""
    if not any(generation.get("task") == TRANSLATION.task for generation in dataset.manifest["generations"]):
        raise UserError(absent(dataset, "no translations", TRANSLATION.example("zh")))


def absent(dataset: Dataset, what: str, generation: str) -> str:
    """The message for a build that lacks something, with the generation to add."""
    return (
        f"{dataset.name} has {what}. Add a generation to its pipeline, for example\n  - {generation}\n"
        "and run it again: all answers are kept. Then export the new build"
    )


def texts_only(options: Options, *needs: Need) -> Options:
    """The options, without names of tables in the map."""
    tables = {need.table for need in needs}
    return replace(options, map={name: of for name, of in options.map.items() if name not in tables})
