"""Parquet exports, and problems of Parquet files of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption.errors import UserError
from recaption.export import columns


def test_hugging_face_datasets_loads_an_export(without_pixels: Any, plain: Any, exported: Any, tmp_path: Path) -> None:
    import datasets

    rows = [plain] * 12
    dest, _ = exported("recap", without_pixels(rows), split="val")
    loaded = datasets.load_dataset(str(dest), cache_dir=str(tmp_path / "cache"))
    assert {split: len(some) for split, some in loaded.items()} == {"validation": 1}


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        ({"re_caption": ["a", None]}, "empty text"),
        ({"re_caption": ["a", " "]}, "empty text"),
        ({"key": ["same", "same"]}, "duplicate key"),
        ({"re_caption": [1, 2]}, "column re_caption"),
        ({"url": None}, "column url"),
    ],
)
def test_wrong_columns_empty_texts_and_duplicate_keys_are_problems(
    table: Any, kind: str, tmp_path: Path, problems: Any
) -> None:
    good = {name: ["a", "b"] for name in ("url", "re_caption", "org_caption", "sha256", "key")}
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(good), path)
    assert problems("recap", path) == {}
    pq.write_table(pa.table({n: v for n, v in {**good, **table}.items() if v is not None}), path)
    assert problems("recap", path) == {kind: "error"}
    path.write_bytes(b"PAR1 not")
    assert problems("recap", path) == {"broken file": "error"}
    for nothing in (tmp_path / "nowhere", tmp_path / "one"):
        with pytest.raises(UserError, match="cannot check"):
            problems("recap", nothing)


def test_rows_are_written_in_groups(
    without_pixels: Any, plain: Any, exported: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "_ROWS", 3)
    dest, done = exported("recap", without_pixels([plain] * 8))
    file = pq.ParquetFile(dest / "data" / "train-00000-of-00001.parquet")
    assert file.metadata.num_rows == done.samples == 8
    assert [file.metadata.row_group(n).num_rows for n in range(file.metadata.num_row_groups)] == [3, 3, 2]
