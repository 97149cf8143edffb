"""Queries of a Parquet file, and their slices."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption.errors import UserError
from recaption.probe.queries import Query, read, slices


def write(folder: Path, **columns: list) -> Path:
    pq.write_table(pa.table(columns), folder / "q.parquet")
    return folder / "q.parquet"


def test_optional_columns_may_be_absent_or_null(tmp_path: Path) -> None:
    assert read(write(tmp_path, image=["a"], text=["red"])) == [Query(image="a", text="red")]
    assert read(write(tmp_path, file=["a.jpg"], text=["red"])) == [Query(image="a.jpg", text="red", in_file=True)]
    path = write(tmp_path, image=["a", "b"], text=["red", "blue"], wrong=["blue", None], slice=["colour", None])
    assert read(path) == [
        Query(image="a", text="red", wrong="blue", slice="colour"),
        Query(image="b", text="blue"),
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"key": ["a"], "text": ["red"]}, r"has the columns key, text; it needs text, and image \(a key or sha256"),
        ({"image": ["a"], "text": [""]}, "row 0: image and text must be strings that are not empty"),
        ({"image": ["a"], "text": ["red"], "wrong": ["red"]}, "row 0: text and wrong are equal"),
        ({"image": pa.array([], pa.string()), "text": pa.array([], pa.string())}, "has no rows"),
    ],
)
def test_other_files_are_refused(columns: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read(write(tmp_path, **columns))


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q.parquet").write_text("image,text")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        read(tmp_path / "q.parquet")


def test_queries_with_and_without_a_wrong_text_are_measured_apart() -> None:
    queries = [Query(image="a", text="x", wrong="y"), Query(image="a", text="x"), Query(image="b", text="z", wrong="y")]
    found = [(one.name, one.rows.tolist(), one.metrics) for one in slices(queries)]
    assert found == [("all", [0, 2], ("fine", "d'")), ("all", [1], ("R@1",))]
