"""recaption.embeddings: files that are no embeddings are refused. Reading is tested with recaption.load.embeddings."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recaption.embeddings import Embeddings
from recaption.errors import DatasetError


def saved(rows: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, rows)
    return buffer.getvalue()


WHOLE = saved(np.zeros(3, [("id", "S4"), ("embedding", "<f2", (5,))]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"RCTOKENS",
        WHOLE[:40],
        WHOLE[:-1],
        saved(np.zeros((3, 5), "<f2")),
        saved(np.zeros(3, [("id", "S4"), ("embedding", "<f2")])),
        saved(np.zeros(3, [("id", "S4"), ("embedding", "<f4", (5,))])),
        saved(np.zeros(3, [("id", "U4"), ("embedding", "<f2", (5,))])),
    ],
)
def test_other_files_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "0.npy").write_bytes(data)
    with pytest.raises(DatasetError, match="embeddings"):
        Embeddings.open(tmp_path / "0.npy")
    with pytest.raises(DatasetError, match="embeddings"):
        Embeddings.read(data, "0.npy")


def test_an_id_that_is_not_there_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="cat"):
        Embeddings.read(WHOLE, "0.npy")["cat"]
