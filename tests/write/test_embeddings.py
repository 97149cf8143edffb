"""recaption.write.embeddings: NumPy reads what is written, and the same embeddings give the same bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from recaption.embeddings import Embeddings
from recaption.errors import DatasetError
from recaption.io.store import LocalStore
from recaption.write.embeddings import write_embeddings


def vector(*numbers: float) -> bytes:
    return np.array(numbers, "<f2").tobytes()


def test_rows_of_images_come_first_and_the_numbers_are_aligned(tmp_path: Path) -> None:
    given = {"b": vector(1, 2, 3), "b/long/0": vector(0, 0, 0), "a": vector(0.5, -1, 65504)}
    sink = write_embeddings(LocalStore(tmp_path), "x.npy", given)
    rows = np.load(tmp_path / "x.npy")
    assert rows["id"].tolist() == [b"b", b"a", b"b/long/0"]
    assert rows["embedding"].tolist() == [[1, 2, 3], [0.5, -1, 65504], [0, 0, 0]]
    assert rows["embedding"].strides[0] % 2 == 0 and rows.dtype.fields["embedding"][1] % 2 == 0
    assert list(Embeddings.open(tmp_path / "x.npy").images()) == ["b", "a"]
    data = (tmp_path / "x.npy").read_bytes()
    assert (sink.size, sink.sha256()) == (len(data), hashlib.sha256(data).hexdigest())
    again = write_embeddings(LocalStore(tmp_path), "again.npy", given)
    assert again.sha256() == sink.sha256()


def test_a_shard_without_embeddings_has_a_file_without_rows(tmp_path: Path) -> None:
    write_embeddings(LocalStore(tmp_path), "x.npy", {})
    assert np.load(tmp_path / "x.npy").shape == (0,)
    assert dict(Embeddings.open(tmp_path / "x.npy")) == {}


def test_embeddings_of_two_lengths_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="embedding of a has 1 numbers, that of b 2"):
        write_embeddings(LocalStore(tmp_path), "x.npy", {"a": vector(1), "b": vector(1, 2)})
