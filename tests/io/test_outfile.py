"""Files that are written in one pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from recaption.errors import StoreError
from recaption.io.outfile import outfile
from recaption.io.store import LocalStore


def test_a_file_is_counted_and_hashed_and_absent_after_a_failure(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    with outfile(store, "a/b") as sink:
        sink.write(b"abc")
        sink.write(b"d")
    assert (sink.size, sink.sha256()[:8]) == (4, "88d4266f") and store.get("a/b") == b"abcd"
    with pytest.raises(KeyError), outfile(store, "a/c") as sink:
        sink.write(b"half")
        raise KeyError
    assert [path for path in store.root.rglob("*") if path.is_file()] == [store.root / "a/b"]


def test_a_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"a file where the folder should be")
    with pytest.raises((StoreError, OSError)), outfile(LocalStore(tmp_path / "out"), "a"):
        pass
