from __future__ import annotations

from pathlib import Path

import pytest

from recaption.errors import DatasetError
from recaption.io.store import LocalStore
from recaption.source.recorded import POSITIONS, RECORD, FolderRule, record_rule, recorded_rule


def test_a_new_output_has_no_rule_and_an_old_one_the_rule_from_before(tmp_path: Path) -> None:
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
    store.put(RECORD, record)
    with pytest.raises(DatasetError, match=r"source\.json"):
        recorded_rule(store)
