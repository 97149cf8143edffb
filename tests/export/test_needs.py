"""What exporters need beside captions."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from exported_tables import tables

from recaption.errors import UserError
from recaption.export import needs
from recaption.export.base import Options
from recaption.export.dataset import Select
from recaption.tasks import registry

NEEDS = [need for need in vars(needs).values() if isinstance(need, needs.Need)]


@pytest.mark.parametrize("need", NEEDS, ids=lambda need: need.table)
def test_the_example_makes_the_table(need: needs.Need) -> None:
    (example,) = yaml.safe_load(f"[{need.generation}]")
    table = registry.shipped_tables()[need.table]
    assert example["task"] == need.task and set(need.columns) <= set(table.columns.names)
    settings = registry._class(need.task).settings.model_fields
    assert set(example) - {"id", "model", "task", "over"} <= set(settings)


def test_the_example_of_a_translation_is_a_setting() -> None:
    (example,) = yaml.safe_load(f"[{needs.TRANSLATION.example('zh')}]")
    assert example["lang"] == "zh" and "lang" in registry._class(example["task"]).settings.model_fields


def test_one_of_the_generations_that_make_a_table_is_chosen(without_pixels: Any, plain: Any) -> None:
    dataset = without_pixels([plain], tables=tables("regions", "concepts"))
    assert needs.required(dataset, Options(), needs.REGIONS) == "my_regions"
    assert needs.required(dataset, Options(map={"regions": "my_regions"}), needs.REGIONS) == "my_regions"
    assert needs.maker(dataset, Options(), needs.NEGATIVES) is None
    assert needs.required_tables(dataset, "concepts") == {"concepts": Select()}
    assert needs.texts_only(Options(map={"regions": "a", "caption": "b"}), needs.REGIONS).map == {"caption": "b"}
    for call, message in (
        (lambda: needs.required(dataset, Options(), needs.NEGATIVES), "has no negatives. Add a generation"),
        (lambda: needs.required(dataset, Options(map={"regions": "long"}), needs.REGIONS), "allowed: my_regions"),
        (lambda: needs.required_tables(dataset, "concepts", "triples"), "has no table triples"),
        (
            lambda: needs.only_table(dataset, Options(map={"a": "b"}), needs.REGIONS),
            "only name allowed in --map is regions",
        ),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            call()
