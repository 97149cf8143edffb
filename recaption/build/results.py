"""Results of generations that do not make one caption per image: their captions, rows of tables and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from recaption import schema
from recaption.errors import DatasetError
from recaption.guard import Failed, attempt
from recaption.output.units import ImageAnswers, QuestionState
from recaption.tasks.base import Rows, TableSpec
from recaption.tasks.caption import CaptionTask
from recaption.tasks.question import Question
from recaption.types import Caption, CaptionFailure, Image, Reject
from recaption.write.entry import GenerationCounts

TableRows = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The result of one generation for one image."""

    has_answer: bool
    counts: GenerationCounts
    captions: tuple[Caption, ...] = ()
    rows: TableRows = field(default_factory=dict)  # by table, with `key` and `generation`
    embeddings: Mapping[str, bytes] = field(default_factory=dict)  # by key, caption_id or sub_id
    rejects: tuple[Reject, ...] = ()
    failures: tuple[CaptionFailure, ...] = ()


def is_whole(question: Question) -> bool:
    """Whether a question makes one caption per image: `assemble` handles those."""
    return type(question.task) is CaptionTask


def result_of(answers: ImageAnswers, question: Question, image: Image) -> Result:
    """The result of one question for an image; `task_tables` then makes tables of the rows of all images.

    For questions that do not make one caption per image (see `is_whole`). If the task fails on the image, there are no
    rows.
    """
    state = answers.state(question)
    counts = _counts(state)
    rejects = tuple(item.for_image(image) for item in state.found if isinstance(item, Reject))
    if state.status != "units":
        return Result(has_answer=False, counts=counts)
    made = attempt(lambda: _rows(state, image))
    without = Result(has_answer=state.has_answer, counts=counts, rejects=rejects)
    if isinstance(made, Failed):
        return _failed(without, question, image.key, made)
    head = {"key": image.key, "generation": question.id}
    rows = {name: [{**row, **head} for row in of_table] for name, of_table in made.tables.items()}
    return replace(
        without,
        counts=replace(counts, counts=dict(made.counts)),
        has_answer=question.task.has_result(state.answers, made),
        captions=made.captions,
        rows=rows,
        embeddings=made.embeddings,
    )


def _failed(result: Result, question: Question, key: str, failed: Failed) -> Result:
    """The result without the captions, rows and embeddings of the task, but with its failure."""
    table = next(iter(question.task.tables), question.id)
    failure = CaptionFailure(caption_id=f"{key}/{question.id}/0", table=table, error=failed.error)
    return replace(result, captions=(), rows={}, embeddings={}, failures=(failure,))


def _rows(state: QuestionState, image: Image) -> Rows:
    """The rows of the task. Raises any error of the task, and DatasetError for captions or tables not its own."""
    question = state.question
    made = question.task.rows(question.generation, image, state.inputs, state.answers)
    if unknown := made.tables.keys() - question.task.tables.keys():
        raise DatasetError(f"rows of {min(unknown)}, which is not one of its tables")
    for number, caption in enumerate(made.captions):
        expected = f"{image.key}/{question.id}/{number}"
        if not isinstance(caption, Caption) or (caption.caption_id, caption.generation) != (expected, question.id):
            raise DatasetError(f"caption {number} is not a Caption of generation {question.id} with id {expected}")
    if made.embeddings and not question.output.embeddings:
        raise DatasetError("embeddings of a task whose output has none")
    return made


def _counts(state: QuestionState) -> GenerationCounts:
    rejects = [item for _, item in state.items if isinstance(item, Reject)]
    unanswered = sum(item is None for _, item in state.items)
    asked = len(state.items) - unanswered
    return GenerationCounts(
        asked=asked,
        answered=asked - len(rejects),
        rejected=len(rejects),
        reasons=Counter(reject.reason for reject in rejects),
        skipped=int(state.status == "skipped"),
        unanswered=unanswered,
    )


def specs_of(questions: Iterable[Question]) -> dict[str, TableSpec]:
    """The tables that the tasks of a build add, by name."""
    return {name: spec for question in questions for name, spec in question.task.tables.items()}


def task_tables(questions: Sequence[Question], results: Mapping[str, dict[str, Result]]) -> dict[str, pa.Table]:
    """The tables of all tasks, also those without rows. `results` are by generation and key; all
    generations have their keys in the same order.

    A result with rows that do not match the columns of their table is replaced in `results` by one without them and
    with a failure.
    """
    specs = specs_of(questions)
    together = attempt(_tables, specs, results)
    if not isinstance(together, Failed):
        return together
    by_id = {question.id: question for question in questions}
    for id, of_images in results.items():
        for key, result in of_images.items():
            alone = attempt(_tables, specs, {id: {key: result}})
            if isinstance(alone, Failed):
                of_images[key] = _failed(result, by_id[id], key, alone)
    return _tables(specs, results)


def _tables(specs: Mapping[str, TableSpec], results: Mapping[str, Mapping[str, Result]]) -> dict[str, pa.Table]:
    """Raises DatasetError or an error of Arrow for rows that do not match the columns of their table."""
    rows: dict[str, list[Mapping[str, Any]]] = {name: [] for name in specs}
    for of_image in zip(*(of_images.values() for of_images in results.values()), strict=True):  # image by image
        for result in of_image:
            for name, of_table in result.rows.items():
                rows[name] += of_table
    return {name: _arrow(spec, rows[name]) for name, spec in specs.items()}


def _arrow(spec: TableSpec, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Raises DatasetError or an error of Arrow for rows that do not match the columns."""
    columns = schema.task_table(spec.name, spec.columns)
    known = set(columns.names)
    for row in rows:
        if not row.keys() <= known:
            unknown = min(row.keys() - known)
            raise DatasetError(f"table {spec.name}: a row has {unknown}; its columns are {sorted(known)}")
    table = pa.Table.from_pylist(rows, schema=columns)
    for column in columns:
        if not column.nullable and table[column.name].null_count:
            raise DatasetError(f"table {spec.name}: a row has no {column.name}, and that column is not nullable")
    return table
