"""The rule of a folder is recorded and kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from recaption.errors import DatasetError
from recaption.io.store import LocalStore
from recaption.output.folder_rule import record_rule, recorded_rule
from recaption.output.paths import FOLDER_RULE
from recaption.source.keys import POSITIONS, FolderRule


def test_a_new_output_has_no_rule_and_an_output_without_a_record_the_old_one(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("pipeline.yaml", b"")
    assert recorded_rule(store) is None
    store.put("index/photos-000000.parquet", b"")
    assert recorded_rule(store) == POSITIONS
    store.delete("index/photos-000000.parquet")
    store.put("answers/long-0/.parts/photos-000000/000000.000001-0000.parquet", b"")
    assert recorded_rule(store) == POSITIONS


def test_a_recorded_rule_is_kept(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    rule = FolderRule(keys="path", shards=7, beside=True)
    record_rule(store, rule)
    store.put("index/photos-000000.parquet", b"")
    assert recorded_rule(store) == rule


@pytest.mark.parametrize(
    "record", [b"{", b"[]", b"{}", b'{"keys": "hash", "shards": 1}', b'{"keys": "path", "shards": 0}']
)
def test_a_broken_record_is_an_error(tmp_path: Path, record: bytes) -> None:
    store = LocalStore(tmp_path)
    store.put(FOLDER_RULE, record)
    with pytest.raises(DatasetError, match=r"source\.json"):
        recorded_rule(store)
