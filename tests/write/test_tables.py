from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption import schema
from recaption.io.store import LocalStore
from recaption.types import Record
from recaption.write.columns import Columns
from recaption.write.tables import features, file_writer, leaves, with_features, write_flat, write_table

TABLE = pa.table({"key": ["a", "b"], "text": ["A dog.", "A cat."]})


def test_leaves_are_parquets_own_names(tmp_path: Path) -> None:
    kind = schema.records(["clip"], image=True)
    path = tmp_path / "t.parquet"
    pq.write_table(kind.empty_table(), path)
    parquet = pq.ParquetFile(path).schema
    assert list(leaves(kind)) == [parquet.column(at).path for at in range(len(parquet.names))]


def test_a_table_is_written_whole_with_its_order(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    sink = write_table(store, "t/0.parquet", TABLE, sorted_by_key=True)
    data = (tmp_path / "t" / "0.parquet").read_bytes()
    assert sink.size == len(data) and pq.read_table(tmp_path / "t" / "0.parquet").equals(TABLE)
    group = pq.ParquetFile(tmp_path / "t" / "0.parquet").metadata.row_group(0)
    assert [each.column_index for each in group.sorting_columns] == [0]


def test_an_error_while_writing_leaves_no_file(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="in the middle"),
        file_writer(LocalStore(str(tmp_path)), "t/0.parquet", TABLE.schema) as (writer, _),
    ):
        writer.write_table(TABLE)
        raise ValueError("in the middle")
    assert not list(tmp_path.rglob("*.parquet"))


def test_features_are_those_of_hugging_face() -> None:
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kind = pa.schema([("image", image), ("n", pa.int32()), ("weight", pa.float64()), ("tags", pa.list_(pa.string()))])
    expected = {
        "image": {"_type": "Image"},
        "n": {"dtype": "int32", "_type": "Value"},
        "weight": {"dtype": "float64", "_type": "Value"},
        "tags": [{"dtype": "string", "_type": "Value"}],
    }
    assert features(kind) == expected
    stored = orjson.loads(with_features(kind).metadata[b"huggingface"])
    assert stored == {"info": {"features": expected}}


def test_rows_about_images_without_captions_are_left_out(tmp_path: Path) -> None:
    records = [Record(key="a", source_key="a", shard="0", row=0, sha256="", status="reject")]
    table = schema.task_table("moods", pa.schema([("mood", pa.string())])).empty_table()
    rows = pa.Table.from_pylist([{"key": "a", "generation": "mood", "mood": "gloomy"}], schema=table.schema)
    written = write_flat(LocalStore(str(tmp_path)), "b", "0", Columns(records), (), {"moods": rows})
    assert {name: count for name, (_, _, count) in written.items()} == {
        "images": 1,
        "captions": 0,
        "sub_captions": 0,
        "tags": 0,
        "rejects": 0,
        "moods": 0,
    }
