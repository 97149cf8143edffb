from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from verified import VERIFICATIONS

from recaption import schema
from recaption.errors import DatasetError
from recaption.tasks.base import TableSpec
from recaption.write.entry import FileEntry, ShardEntry
from recaption.write.specs import check_tables, spec_from_json, spec_json, specs_of


def test_a_table_is_read_back_from_the_manifest_with_types_and_descriptions() -> None:
    lists = TableSpec(
        name="boxes",
        parent="image",
        description="boxes of an image",
        columns=pa.schema(
            [
                schema.column("box", pa.list_(pa.float64()), "x, y, x, y in [0, 1]"),
                schema.column("labels", pa.list_(pa.list_(pa.string())), "names", null=True),
                schema.column("sure", pa.bool_(), "whether it is sure"),
            ]
        ),
    )
    for spec in (VERIFICATIONS, lists):
        found = spec_from_json(json.loads(json.dumps(spec_json(spec))))
        assert (found.name, found.parent, found.description) == (spec.name, spec.parent, spec.description)
        assert found.columns.equals(spec.columns, check_metadata=True)
    assert list(specs_of({"tables": [spec_json(lists), spec_json(VERIFICATIONS)]})) == ["boxes", "verifications"]
    assert specs_of({}) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "tags"}, "the table name 'tags' is not allowed"),
        ({"parent": "caption"}, "needs a column caption_id"),
        ({"columns": [{"name": "sub_id", "type": "struct<a: int32>", "description": "", "nullable": True}]}, "struct"),
    ],
)
def test_an_entry_that_a_build_cannot_have_is_a_value_error(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        spec_from_json(spec_json(VERIFICATIONS) | change)


def test_every_shard_needs_a_file_of_every_table() -> None:
    file = FileEntry(
        path="verifications/0.parquet", table="verifications", split=None, rows=0, bytes=1, sha256="0" * 64
    )
    entries = [ShardEntry(name=name, files=(file,), counts={}, splits={}) for name in "01"]
    check_tables(entries, [VERIFICATIONS])
    with pytest.raises(DatasetError, match="no file of the table verifications: pass one to write_shard") as caught:
        check_tables([entries[0], ShardEntry(name="1", files=(), counts={}, splits={})], [VERIFICATIONS])
    assert caught.value.shard == "1"
