"""recaption.tasks.base: what tasks share, and the example of docs/tasks.md from its units to the rows of its table."""

from __future__ import annotations

import pickle
import re
import sys
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from task_examples import example_task
from task_units import IMAGE, answer, answered, caption, completion, generation, inputs, parsed, with_sub

from recaption import prompt, schema, strictyaml
from recaption.config import GenerationConfig
from recaption.tasks import registry
from recaption.tasks.base import (
    NO_INPUTS,
    WHOLE_IMAGE,
    NoSettings,
    TableSpec,
    Task,
    Unit,
    UnitAnswer,
    sub_captions,
    sub_id,
    unit_id,
    value_in,
)
from recaption.tasks.output import TEXT

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
LONG = caption("A kite flies.", "A boy runs.")


def section(kind: str) -> str:
    """The block of this kind in the section about a task of one's own."""
    text = PAGE.read_text("utf-8").partition("\n## A task of your own\n")[2]
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return str(found)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The task of the page, with the settings of its pipeline. `prompts/` and the module are in `tmp_path`."""
    (tmp_path / "my_tasks.py").write_text(section("python"))
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "colour_of.md").write_text(section("markdown"))
    monkeypatch.syspath_prepend(str(tmp_path))
    configured = GenerationConfig.model_validate(strictyaml.read(section("yaml"), "page")["generate"][1])
    yield registry.load(configured.task, configured.settings)
    sys.modules.pop("my_tasks", None)


def test_the_example_is_short() -> None:
    lines = [line for kind in ("python", "yaml") for line in section(kind).splitlines() if line.strip()]
    assert len(lines) <= 30


def test_the_example_asks_about_each_sub_caption_with_an_object(example: Any, tmp_path: Path) -> None:
    asked = prompt.load(example.prompt, tmp_path / "prompts")
    units = example.units(IMAGE, inputs(with_sub(caption("A kite flies.", "It is calm.", "A boy runs."), 1, tags=())))
    assert [(unit.id, asked.fill_in(unit.variables)) for unit in units] == [
        ("long/0#0", "What colour is the flies?"),
        ("long/0#2", "What colour is the runs?"),
    ]


def test_the_example_takes_its_colours_and_nothing_else(example: Any) -> None:
    assert example.output(None).choices == ("red", "blue", "other")
    assert parsed(example, WHOLE_IMAGE, completion("blue\n")).finish == "stop"
    for text in ("green", "", "a blue kite"):
        assert parsed(example, WHOLE_IMAGE, completion(text)).finish == "invalid"


def test_the_example_fills_its_table(example: Any) -> None:
    units = example.units(IMAGE, inputs(LONG))
    rows = example.rows(generation("colours"), IMAGE, inputs(LONG), answered(units, ["red", None]))
    (spec,) = example.tables.values()
    made = [{"key": "k", "generation": "colours", **row} for row in rows.tables[spec.name]]
    table = pa.Table.from_pylist(made, schema=schema.task_table(spec.name, spec.columns))
    table.validate(full=True)
    assert table.to_pylist() == [
        {"key": "k", "generation": "colours", "sub_id": "k/long/0#0", "colour": "red"},
    ]


def test_the_example_is_pickled_with_its_settings(example: Any) -> None:
    again = pickle.loads(pickle.dumps(example))
    assert again.identity() == example.identity() == {"colours": ["red", "blue", "other"]}


@pytest.mark.parametrize("name", registry.TASKS)
def test_a_shipped_task_is_pickled_with_its_settings(name: str, tmp_path: Path) -> None:
    task = example_task(name, tmp_path)
    again = pickle.loads(pickle.dumps(task))
    assert type(again) is type(task) and again.options == task.options
    assert orjson.loads(orjson.dumps(again.identity())) == task.identity()


@pytest.mark.parametrize("name", registry.TASKS)
def test_rows_of_a_shipped_task_without_answers_are_empty(name: str, tmp_path: Path) -> None:
    task = example_task(name, tmp_path)
    unanswered = [UnitAnswer(unit=unit, answer=None) for unit in (WHOLE_IMAGE, Unit(id="long/0#0"))]
    for answers in ([], unanswered):
        rows = task.rows(generation("g", granularity="long"), IMAGE, NO_INPUTS, answers)
        assert rows.captions == () and not any(rows.tables.values())


def test_a_task_asks_once_about_the_whole_image_by_default() -> None:
    task = Task(NoSettings())
    assert task.units(IMAGE, NO_INPUTS) == (WHOLE_IMAGE,)
    assert (task.output(None), task.identity()) == (TEXT, {})


def test_the_id_of_a_unit_and_a_sub_id_are_inverse() -> None:
    for _, sub in sub_captions(inputs(LONG)):
        assert sub_id("k", Unit(id=unit_id("k", sub))) == sub.sub_id


def test_sub_captions_are_in_the_order_of_the_inputs() -> None:
    short = caption("A dog sits.", name="short")
    assert [(c.generation, s.idx) for c, s in sub_captions(inputs(short, LONG))] == [
        ("short", 0),
        ("long", 0),
        ("long", 1),
    ]
    assert list(sub_captions(NO_INPUTS)) == []


@pytest.mark.parametrize("value", [None, 0.5, "red", {"p_true": 1.0}, []])
def test_the_value_of_an_answer_is_what_was_parsed(value: Any) -> None:
    assert value_in(answer(value)) == value


SUB_ID = schema.column("sub_id", pa.string(), "the sub-caption")


def table(*columns: pa.Field, **changes: Any) -> TableSpec:
    given: dict[str, Any] = {"name": "checks", "parent": "sub_caption", "description": "checks"}
    return TableSpec(**given | changes, columns=pa.schema([SUB_ID, *columns]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: table(name="Checks"), "the table name 'Checks' is not allowed; allowed: 1 to 32 lower-case letters"),
        (lambda: table(name="captions"), "the table name 'captions' is not allowed"),
        (lambda: table(name="../x"), "is not allowed"),
        (lambda: table(SUB_ID), "repeat, or are key or generation"),
        (lambda: table(schema.column("key", pa.string(), "")), "repeat, or are key or generation"),
        (lambda: table(parent="caption"), "its parent is caption, so it needs a column caption_id"),
        (lambda: table(schema.column("at", pa.timestamp("us"), "")), "column at: type timestamp.us. is not allowed"),
    ],
)
def test_a_table_that_a_build_cannot_have_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_column_of_the_parent() -> None:
    assert table().parent_column == "sub_id" and table(parent="image").parent_column is None
