"""recaption.tasks.match: texts of an image's class, by score."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from task_units import IMAGE, answered, completion, generation, parsed

from recaption.errors import ConfigError
from recaption.tasks import registry
from recaption.tasks.base import WHOLE_IMAGE, Task

OWL = replace(IMAGE, columns={"label": "snowy owl"})
TEXTS = ("A white bird.", "It has yellow eyes.", "Dark bars cross its wings.")


@pytest.fixture
def task(tmp_path: Path) -> Task:
    columns = {"class_name": ["snowy owl"] * 4 + ["lark", "wren"], "text": [*TEXTS, TEXTS[0], "A brown bird.", " "]}
    (tmp_path / "class_texts").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "class_texts" / "0.parquet")
    return registry.load("match", {"texts": str(tmp_path / "class_texts"), "class_column": "label", "most": 2})


def test_each_text_of_the_class_is_one_request(task: Task) -> None:
    units = task.units(OWL, {})
    assert [(u.id, u.variables["text"]) for u in units] == [(f"text#{n}", text) for n, text in enumerate(TEXTS)]
    assert task.output(None).scores and task.needs == {"image"} and task.identity() == {}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": "wren"}, "has no texts of the class 'wren'"),
        ({"label": "owl"}, "has no texts of the class 'owl'"),
        ({}, "column 'label' is null: add the class of this image to the source"),
        ({"label": None}, "column 'label' is null"),
    ],
)
def test_a_class_without_texts_and_an_image_without_a_class_are_errors(
    task: Task, columns: dict[str, str | None], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        task.units(replace(IMAGE, columns=columns), {})


def test_the_best_texts_are_rows(task: Task) -> None:
    values = [{"scores": [s, 1.0], "is_cut": s > 0.2} for s in (0.1, 0.3, 0.2)]
    rows = task.rows(generation("fit"), OWL, {}, answered(task.units(OWL, {}), values)).tables["matches"]
    assert [(r["text"], r["rank"], r["score"], r["is_cut"]) for r in rows] == [
        (TEXTS[1], 0, 0.3, True),
        (TEXTS[2], 1, 0.2, False),
    ]
    rest = answered(task.units(OWL, {}), [values[0], None, None])
    assert [r["text"] for r in task.rows(generation("fit"), OWL, {}, rest).tables["matches"]] == [TEXTS[0]]


def test_numbers_of_the_engine_are_kept(task: Task) -> None:
    found = parsed(task, WHOLE_IMAGE, replace(completion(""), scores=(0.25, 3.0)))
    assert found.value == {"scores": [0.25, 3.0], "is_cut": False}
    assert parsed(task, WHOLE_IMAGE, completion("")).finish == "invalid"


def test_tables_that_cannot_be_used(tmp_path: Path) -> None:
    empty = pa.array([], pa.string())
    pq.write_table(pa.table({"class_name": empty, "text": empty}), tmp_path / "e.parquet")
    pq.write_table(pa.table({"class": ["a"]}), tmp_path / "c.parquet")
    (tmp_path / "t.parquet").write_text("a")
    for name, problem in (("e", "has no texts"), ("c", "cannot be read"), ("t", "cannot be read"), ("n", "cannot be")):
        settings: dict[str, Any] = {"texts": str(tmp_path / f"{name}.parquet"), "class_column": "label"}
        with pytest.raises(ConfigError, match=problem) as caught:
            registry.load("match", settings)
        assert "\n" not in str(caught.value)
