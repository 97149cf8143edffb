"""The shipped tables of `annotate.tables`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recaption import schema
from recaption.annotate import Annotator
from recaption.annotate.custom_tables import load_tables, shipped_tables
from recaption.annotate.tables.registry import TABLES
from recaption.config import Annotate
from recaption.errors import ConfigError
from recaption.tasks.registry import shipped_tables as task_tables
from recaption.types import Caption

Make = Callable[..., Caption]


def test_each_table_has_its_name_and_no_other_table_has_it() -> None:
    assert [table.name for table in load_tables(tuple(TABLES))] == list(TABLES) == list(shipped_tables())
    assert not TABLES.keys() & (task_tables().keys() | schema.RESERVED)


@pytest.mark.parametrize("name", TABLES)
def test_the_manifest_describes_every_column(name: str) -> None:
    spec = shipped_tables()[name]
    assert spec.description and not spec.generated and spec.all_columns.names[:2] == ["sub_id", "key"]
    assert all(column.metadata[b"description"] for column in spec.all_columns)


def test_an_unknown_name_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"unknown table 'nouns'; allowed: concepts, .* and package\.module:Class"):
        load_tables(("nouns",))


def test_tables_do_not_change_the_sub_captions(make: Make) -> None:
    captions = [[make("The image shows two red cars behind a wall. A dog sits.")]]
    made = Annotator(Annotate(tables=tuple(TABLES))).annotate_with_tables(captions)
    assert made.images == Annotator(Annotate()).annotate(captions)
    assert all(made.tables[name].num_rows for name in TABLES)
    for name, spec in shipped_tables().items():
        assert made.tables[name].schema == spec.all_columns
