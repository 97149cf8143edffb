"""Columns are JSON of bounded size, captions are found in them, and unused contents are reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption.source import Source
from recaption.source.columns import bounded, clean, counted, raw_captions, shortened
from recaption.types import MAX_VALUE

Build = Callable[..., Source]


def test_long_lists_are_shortened() -> None:
    assert counted(Counter({".txt": 1200, "": 1})) == "1,200 .txt, 1 without suffix"
    assert counted(Counter({f".{i}": 9 - i for i in range(8)})).endswith("5 .4, 9 more")
    assert shortened([f"f{i}" for i in range(7)]) == "f0, f1, f2, f3, f4, and 2 more"
    assert shortened(["a\udcff"]) == "a\\xff"


def test_unused_files_and_columns_of_a_folder_are_reported(
    tmp_path: Path, picture: Callable[..., bytes], source: Build
) -> None:
    for name in ("a.jpg", "a.txt", "b.txt", "x.tar.gz", "LICENSE", ".hidden.jpg", "named.bin"):
        (tmp_path / name).write_bytes(picture(1))
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.jpg", "alt": "x"}\n{"file_name": "named.bin"}\n')
    (tmp_path / "up").symlink_to(tmp_path)
    assert source(tmp_path, format="folder").unused() == [
        "files that are not images: 2 .txt, 1 without suffix, 1 .gz",  # a table names a.jpg, so a.txt is not read
        "names that begin with a dot: 1",
        "links back into a folder above them: 1",
        "columns that may hold captions: alt (raw captions are taken from caption, txt, text, or from the column that "
        "source.raw_caption names)",
    ]
    assert len(source(tmp_path, format="folder", raw_caption="alt").unused()) == 3


def test_unused_members_of_tars_are_reported(
    tmp_path: Path, picture: Callable[..., bytes], write_tar: Callable[..., Path], source: Build
) -> None:
    path = write_tar(
        tmp_path / "x.tar",
        [("a.jpg", picture(1)), ("a.png", picture(2)), ("a.npy", b"x"), ("a.json", b'{"title": "x"}'), ("README", b"")],
    )
    found = source(path).unused()
    assert found[:2] == [
        "members of x that are neither images nor text: 1 without suffix, 1 .npy",
        "images after the first of a sample (jpg, jpeg, png, …): 1 sample",
    ]
    assert found[2].startswith("columns that may hold captions: title")


def test_repeated_keys_of_a_json_member_are_reported(
    tmp_path: Path, picture: Callable[..., bytes], write_tar: Callable[..., Path], source: Build
) -> None:
    path = write_tar(tmp_path / "x.tar", [("a.jpg", picture(1)), ("a.json", b'{"caption": "x", "caption": "y"}')])
    assert source(path).unused() == ["all but the last value of keys that a JSON member repeats: caption"]
    assert next(iter(source(path).index(next(source(path).shards())))).raw_captions == ("y",)


def test_unused_columns_of_a_parquet_file_are_reported(
    tmp_path: Path, picture: Callable[..., bytes], source: Build
) -> None:
    pq.write_table(pa.table({"image": [picture(1)], "mask": [b"x"], "label": ["x"]}), tmp_path / "x.parquet")
    found = source(tmp_path / "x.parquet").unused()
    assert found[0] == "columns that hold bytes: mask (binary)"
    assert found[1].startswith("columns that may hold captions: label")


def test_a_source_without_unused_contents_reports_nothing(
    tmp_path: Path, write_tar: Callable[..., Path], img2dataset_sample: Callable[..., list], source: Build
) -> None:
    assert source(write_tar(tmp_path / "x.tar", img2dataset_sample(0, 1))).unused() == []


@pytest.mark.parametrize(
    ("columns", "name", "expected"),
    [
        ({"caption": "x"}, "caption", ["x"]),
        ({"caption": "x"}, None, []),
        ({"caption": "", "txt": "y"}, "caption", ["y"]),
        ({"caption": None, "txt": " ", "text": "z"}, "caption", ["z"]),
        ({"alt": "", "txt": "y"}, "alt", []),
        ({"caption": [None, " ", "z", 7, "a\nb"]}, "caption", ["z", "7", "a\nb"]),
        ({"caption": 12}, "caption", ["12"]),
        ({"caption": True}, "caption", []),
        ({"caption": {"en": "x"}}, "caption", []),
        ({"caption": "a\nb"}, "caption", ["a\nb"]),
        ({"txt": "a\r\n\n b\rc\u2028d\n"}, "caption", ["a", " b", "c\u2028d"]),
        ({"txt": "a\n"}, "caption", ["a\n"]),
        ({"txt": ["a\nb"]}, "caption", ["a\nb"]),
        ({}, "caption", []),
    ],
)
def test_raw_captions_are_found_in_columns(columns: dict[str, object], name: str | None, expected: list[str]) -> None:
    assert raw_captions(columns, name, frozenset({"txt"})) == tuple(expected)


def test_large_values_are_dropped_and_their_columns_named() -> None:
    kept = "ü" * (MAX_VALUE // 2)
    assert bounded({"a": kept, "b": kept + "x", "c": ["x" * 9] * 9000}, ["d"]) == {
        "a": kept,
        "_dropped": ["b", "c", "d"],
    }
    assert bounded({"a": 1}) == {"a": 1}


def test_values_become_strict_json() -> None:
    nested: list = []
    for _ in range(1000):
        nested = [nested]
    assert clean({"a": (1, b"x"), 2: float("-inf")}) == {"a": [1, None], "2": None}
    clean(nested)
