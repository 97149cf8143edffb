"""recaption.build.unique: keys that are in two shards are found by their hashes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recaption.build import unique
from recaption.build.unique import KeyTable, check_keys, key_hashes
from recaption.errors import UserError
from recaption.io.store import LocalStore
from recaption.output.answers import table_bytes
from recaption.schema import INDEX


def put(store: LocalStore, shards: dict[str, list[str]]) -> list[KeyTable]:
    for name, keys in shards.items():
        store.put(f"index/{name}.parquet", table_bytes(pa.table({"key": keys}, metadata=INDEX.metadata)))
    return [KeyTable(name=name, path=f"index/{name}.parquet", rows=len(keys)) for name, keys in shards.items()]


def test_no_file_is_read_while_keys_are_unique(tmp_path: Path) -> None:
    keys = [[f"{shard}-{row}" for row in range(500)] for shard in range(20)]
    tables = [KeyTable(name=str(n), path="does not exist", rows=500) for n in range(20)]
    check_keys(LocalStore(tmp_path), tables, [key_hashes(of_shard) for of_shard in keys])
    check_keys(LocalStore(tmp_path), [], [])


def test_a_repeated_key_is_named_with_its_first_two_shards(tmp_path: Path) -> None:
    shards = {"a": ["k1", "k2"], "b": ["k3", "k4"], "c": [], "d": ["k5", "k2", "k4"]}
    store = LocalStore(tmp_path)
    tables, hashes = put(store, shards), [key_hashes(keys) for keys in shards.values()]
    with pytest.raises(UserError, match="key 'k2' is in shard a and in shard d; keys must be unique"):
        check_keys(store, tables, hashes)
    limited = [*tables[:-1], KeyTable(name="d", path=tables[-1].path, rows=1)]
    check_keys(store, limited, [*hashes[:-1], key_hashes(["k5"])])


def test_different_keys_of_equal_hashes_are_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unique, "_hash", len)
    store = LocalStore(tmp_path)
    tables = put(store, {"a": ["k1", "k22"], "b": ["l1"]})
    check_keys(store, tables, [key_hashes(["k1", "k22"]), key_hashes(["l1"])])


def test_repeated_hashes_are_found_in_all_ranges() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 2**64, 4_000, np.uint64)
    values[:2] = 0, 2**64 - 1
    arrays = [np.sort(np.concatenate([values[n::4], values[:50]])) for n in range(4)]
    assert unique._repeated(arrays).tolist() == sorted(values[:50].tolist())
