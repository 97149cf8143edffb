"""A damaged file of an output is an error that names the file and what to do."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from recaption.errors import DatasetError
from recaption.io.store import LocalStore
from recaption.output.answers import table_bytes
from recaption.output.stored_table import read_stored
from recaption.schema import REJECTS
from recaption.tablefile import read_table

ANSWERS = "answers/long-01"
WHOLE = table_bytes(pa.Table.from_pylist([], schema=REJECTS))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.mark.parametrize("data", [b"", WHOLE[:60], WHOLE[:-1], b"PAR1" + bytes(200) + b"PAR1", WHOLE[60:]])
def test_a_damaged_file_is_named(store: LocalStore, data: bytes) -> None:
    store.put(f"{ANSWERS}/00000.parquet", data)
    with pytest.raises(DatasetError) as raised:
        read_stored(store, f"{ANSWERS}/00000.parquet")
    assert f"{store.url}/{ANSWERS}/00000.parquet is damaged: " in str(raised.value)


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        (f"{ANSWERS}/00000.parquet", "delete it: only the requests whose answers it had are then sent again"),
        (f"{ANSWERS}/.parts/00000/000000.000001-0000-0.parquet", "delete it: only the requests whose answers it had"),
        ("rejects/source/00000.parquet", "delete it: the source shard is then listed again, and all stored answers"),
        ("index/00000.parquet", "delete it: the source shard is then listed again, and all stored answers are kept"),
    ],
)
def test_the_advice_loses_no_answer(store: LocalStore, path: str, advice: str) -> None:
    store.put(path, b"no Parquet")
    with pytest.raises(DatasetError) as raised:
        read_stored(store, path)
    assert "Restore it from a copy of the output. If there is none, " + advice in str(raised.value)


def test_later_files_of_the_shard_stay_readable(store: LocalStore) -> None:
    """Readers find the compacted files of a shard by their numbers, so a missing one would hide all later ones."""
    for number in ("", ".1", ".2"):
        store.put(f"{ANSWERS}/00000{number}.parquet", WHOLE if number else WHOLE[:60])
    with pytest.raises(DatasetError, match=r"If there is none, move answers/long-01/00000\.2\.parquet to its place: "):
        read_stored(store, f"{ANSWERS}/00000.parquet")
    assert read_stored(store, f"{ANSWERS}/00000.2.parquet").num_rows == 0


def test_a_missing_file_and_errors_of_the_file_system_stay_as_they_are(store: LocalStore) -> None:
    with pytest.raises(FileNotFoundError):
        read_stored(store, "index/00000.parquet")


def test_columns_and_other_content(store: LocalStore) -> None:
    store.put("index/00000.parquet", WHOLE)
    assert read_stored(store, "index/00000.parquet", ["key"]).column_names == ["key"]
    with pytest.raises(DatasetError, match="no column colour"):
        read_stored(store, "index/00000.parquet", ["colour"])
    plain = table_bytes(read_table(pa.BufferReader(WHOLE)).replace_schema_metadata(None))
    store.put("index/00001.parquet", plain)
    with pytest.raises(DatasetError, match="was not written by recaption"):
        read_stored(store, "index/00001.parquet")
