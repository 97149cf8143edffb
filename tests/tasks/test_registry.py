"""recaption.tasks.registry: the tasks by name, and the messages about their settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from task_examples import example_task

from recaption import prompt, schema
from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.base import CAPTIONS, Task
from recaption.tasks.caption import CaptionTask


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes a module of a user."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names: list[str] = []

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        names.append(name)

    yield write
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", registry.TASKS)
def test_a_shipped_task_fits_its_prompt_and_its_tables(name: str, tmp_path: Path) -> None:
    task = example_task(name, tmp_path)
    assert not registry.is_own(name)
    if task.prompt is not None:
        shipped = prompt.load(task.prompt)
        assert bool(shipped.columns) == bool(task.variables) and shipped.columns <= task.variables
        assert (shipped.granularity is not None) == (task.makes_captions and task.granularity is None)
    for table, spec in task.tables.items():
        assert spec.name == table and table not in schema.FLAT
        parent = {"image": None, "caption": "caption_id", "sub_caption": "sub_id"}[spec.parent]
        assert parent is None or spec.columns.field(parent).nullable is False
        assert not {"key", "generation"} & set(spec.columns.names)
        assert all((field.metadata or {}).get(b"description") for field in spec.columns)


def test_each_table_of_shipped_tasks_has_one_task(tmp_path: Path) -> None:
    tables = [table for name in registry.TASKS for table in example_task(name, tmp_path).tables]
    assert len(set(tables)) == len(tables)


@pytest.mark.parametrize("name", registry.TASKS)
def test_what_a_shipped_task_reads_is_what_another_gives(name: str, tmp_path: Path) -> None:
    tasks = [example_task(other, tmp_path) for other in registry.TASKS]
    given = {table for task in tasks for table in task.tables} | {CAPTIONS}
    assert example_task(name, tmp_path).reads <= given


def test_the_task_caption_has_no_settings() -> None:
    assert isinstance(registry.load("caption", {}), CaptionTask)
    with pytest.raises(ConfigError, match=r"^task caption: over: unknown key"):
        registry.load("caption", {"over": "long"})


@pytest.mark.parametrize("name", ["", "Verify", "verify ", "my.module"])
def test_an_unknown_name_is_refused_with_those_that_exist(name: str) -> None:
    with pytest.raises(ConfigError) as error:
        registry.load(name, {})
    known = "caption, verify, score, repair, regions, negatives, verify_negatives, rewrite, crop, ocr, aspects, "
    known += "translate, class_texts, match, tags, ppl, review, compare"
    assert str(error.value) == f"unknown task {name!r}; allowed: {known} and package.module:Class"


@pytest.mark.parametrize(
    "name", ["my.module:", ":Class", "a b:Class", "json:C:D", "json:decoder.JSONDecoder", "..json:Class"]
)
def test_a_name_of_a_class_that_is_none_is_refused(name: str) -> None:
    assert registry.is_own(name)
    with pytest.raises(ConfigError) as error:
        registry.load(name, {})
    assert str(error.value).startswith(f"task {name!r} cannot be imported: ")


def test_a_class_of_a_user_gets_its_settings(own: Any) -> None:
    own(
        "own_good",
        "from recaption.section import Section\n"
        "from recaption.tasks.base import Task\n"
        "class Settings(Section):\n"
        "    n: int = 3\n"
        "class Many(Task):\n"
        "    settings = Settings\n"
        "    def parse(self, unit, completion): ...\n"
        "    def rows(self, generation, image, inputs, answers): ...\n",
    )
    task = registry.load("own_good:Many", {"n": 5})
    assert isinstance(task, Task)
    assert task.identity() == {"n": 5}
    with pytest.raises(ConfigError, match=r"^task own_good:Many: m: unknown key; allowed here: n$"):
        registry.load("own_good:Many", {"m": 5})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("own_missing:Task", None, "cannot be imported: ModuleNotFoundError: No module named 'own_missing'"),
        ("own_empty:Many", "", "cannot be imported: AttributeError: module 'own_empty' has no attribute 'Many'"),
        ("own_broken:Many", "def (:", "cannot be imported: SyntaxError: invalid syntax"),
        ("own_raises:Many", "raise ValueError('no licence')", "cannot be imported: ValueError: no licence"),
        (
            "own_import:Many",
            "import own_nowhere",
            "cannot be imported: ModuleNotFoundError: No module named 'own_nowhere'",
        ),
        ("own_name:Many", "class Many(Task): pass", "cannot be imported: NameError: name 'Task' is not defined"),
        ("own_value:Many", "Many = 3", "is not a subclass of recaption.tasks.base.Task"),
        ("own_class:Many", "class Many: pass", "is not a subclass of recaption.tasks.base.Task"),
        ("own_function:Many", "def Many(): pass", "is not a subclass of recaption.tasks.base.Task"),
    ],
)
def test_a_class_that_cannot_be_used_is_a_mistake_of_the_user(
    own: Any, name: str, text: str | None, message: str
) -> None:
    if text is not None:
        own(name.partition(":")[0], text)
    with pytest.raises(ConfigError) as error:
        registry.load(name, {})
    assert str(error.value).startswith(f"task '{name}' {message}")
    advice = (
        "put the folder of the package into PYTHONPATH"
        if "imported" in message
        else "Name a class that derives from Task"
    )
    assert str(error.value).endswith(advice)


TASK = """
from recaption.tasks.base import Parsed, Rows, TableSpec, Task
from recaption.tasks.output import Output
import pyarrow as pa

SPEC = TableSpec(name="moods", columns=pa.schema([pa.field("n", pa.int64())]), parent="image", description="moods")

class Whole(Task):
    def parse(self, unit, completion):
        return Parsed(finish="stop")
    def rows(self, generation, image, inputs, answers):
        return Rows()

class Many(Whole):
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "    def __init__(self): pass",
            "it cannot be made: TypeError: .* A task has a subclass of Section as `settings`",
        ),
        ("    settings = dict", "it cannot be made: AttributeError: .* A task has a subclass of Section as `settings`"),
        (
            "    def output(self, unit): return unit.variables['n']",
            r"output\(None\) fails: AttributeError: .* for unit None$",
        ),
        ("    def output(self, unit): return 'yes', 'no'", r"output\(\) has to return an Output, got \('yes', 'no'\)$"),
        ("    tables = [SPEC]", r"`tables` has to be a dict of TableSpec by name, got \["),
        ("    tables = {'moods': 'mood'}", "`tables` has to be a dict of TableSpec by name, got {'moods': 'mood'}"),
        ("    tables = {'mood': SPEC}", r"`tables` .* TableSpec under its name; 'mood' is named 'moods'$"),
        ("    parse = Task.parse", r"it has no parse\. Write these methods$"),
        ("    parse, rows = Task.parse, Task.rows", r"it has no parse and no rows\. Write these methods$"),
    ],
)
def test_a_task_that_would_fail_at_each_image_is_refused_by_name(own: Any, text: str, message: str) -> None:
    own("own_faulty", TASK + text)
    with pytest.raises(ConfigError, match=f"^task own_faulty:Many: {message}"):
        registry.load("own_faulty:Many", {})


def test_a_form_that_no_engine_returns_is_reported_with_the_task(own: Any) -> None:
    own(
        "own_form",
        TASK + "    def output(self, unit): return Output(choices=('a', 'a'))",
    )
    with pytest.raises(ConfigError, match=r"^task own_form:Many: output.choices must differ"):
        registry.load("own_form:Many", {})


def test_settings_that_do_not_fit_together_are_a_mistake_of_the_user(own: Any) -> None:
    own(
        "own_strict",
        "from recaption.tasks.base import Task\n"
        "class Many(Task):\n"
        "    def __init__(self, options):\n"
        "        raise ValueError('n needs m')\n",
    )
    with pytest.raises(ConfigError, match=r"^task own_strict:Many: n needs m$"):
        registry.load("own_strict:Many", {})
