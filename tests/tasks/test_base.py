from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from recaption import schema
from recaption.tasks.base import TableSpec

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
