"""Tables of captions beside images, as Hugging Face's imagefolder has them, and what else people give."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption.errors import SourceError
from recaption.source import Source
from recaption.source.keys import POSITIONS
from recaption.source.table import read_table
from recaption.types import Image

Build = Callable[..., Source]


@pytest.fixture
def photos(tmp_path: Path, picture: Callable[..., bytes]) -> Callable[..., Path]:
    def make(*names: str) -> Path:
        for number, name in enumerate(names):
            path = tmp_path / "photos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(picture(number))
        return tmp_path / "photos"

    return make


def captions(source: Source) -> dict[str, tuple[str, ...]]:
    return {image.source_key: image.raw_captions for image in rows(source).values()}


def rows(source: Source) -> dict[str, Image]:
    return {image.source_key: image for shard in source.shards() for image in source.index(shard)}


def jsonl(path: Path, *items: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items))


def test_empty_rows_of_a_spreadsheet_are_skipped(photos: Callable[..., Path], source: Build) -> None:
    folder = photos("a.jpg", "b.jpg")
    (folder / "metadata.csv").write_text("file_name,caption\na.jpg,x\n,\n , \nb.jpg,y\n,,,\n")
    assert captions(source(folder)) == {"a": ("x",), "b": ("y",)}


def test_a_raw_caption_of_any_size_is_kept_up_to_64_kib(photos: Callable[..., Path], source: Build) -> None:
    folder = photos("a.jpg")
    (folder / "metadata.csv").write_text(f"file_name,caption\na.jpg,{'ab' * 100_000}\n")
    (image,) = rows(source(folder)).values()
    assert image.raw_captions == ("ab" * 32 * 1024,)
    assert image.columns == {"_dropped": ["caption"]}


def test_an_absolute_path_in_a_table_is_named_as_such(photos: Callable[..., Path], source: Build) -> None:
    folder = photos("a.jpg")
    (folder / "metadata.csv").write_text(f"file_name,caption\n{folder}/a.jpg,x\n")
    (wrong,) = [image for image in rows(source(folder)).values() if image.reason == "missing_image"]
    assert "a.jpg is an absolute path. Write paths relative to the table's folder" in (wrong.detail or "")


def test_a_backslash_is_a_separator_unless_a_file_has_this_name(photos: Callable[..., Path], source: Build) -> None:
    folder = photos("sub/a.jpg", "back\\slash.jpg", "sub/two\\b.jpg", "sub/two/b.jpg", "odd\\name.dat")
    names = ("sub\\a.jpg", "back\\slash.jpg", "sub/two/b.jpg", "odd\\name.dat")
    jsonl(folder / "metadata.jsonl", *({"file_name": name, "caption": name} for name in names))
    jsonl(folder / "sub/metadata.jsonl", {"file_name": "two\\b.jpg", "caption": "inner"})
    found = {
        "back\\slash": ("back\\slash.jpg",), "odd\\name": ("odd\\name.dat",), "sub/a": ("sub\\a.jpg",),
        "sub/two/b": ("sub/two/b.jpg",), "sub/two\\b": ("inner",),
    }  # fmt: skip
    assert captions(source(folder)) == found
    (folder / "sub/metadata.jsonl").unlink()
    assert captions(source(folder, captions="metadata.jsonl")) == found | {"sub/two\\b": ()}


def test_a_table_in_each_subfolder_is_read(photos: Callable[..., Path], source: Build) -> None:
    folder = photos("train/1.jpg", "test/1.jpg", "train/deep/2.jpg", "other/1.jpg", "top.jpg")
    jsonl(folder / "train/metadata.jsonl", {"file_name": "1.jpg", "caption": "a"}, {"file_name": "deep/2.jpg", "n": 2})
    (folder / "test/metadata.csv").write_text("file_name,text\n1.jpg,b\n")
    pq.write_table(pa.table({"file_name": ["1.jpg"], "caption": [["c", "", "d"]]}), folder / "other/metadata.parquet")
    jsonl(folder / "metadata.jsonl", {"file_name": "train/1.jpg", "caption": "outer", "licence": "cc0"})
    made = source(folder)
    assert captions(made) == {
        "train/1": ("a",), "test/1": ("b",), "train/deep/2": (), "other/1": ("c", "d"), "top": ()
    }  # fmt: skip
    found = rows(made)
    assert found["train/1"].columns == {"caption": "a", "licence": "cc0"}
    assert found["train/deep/2"].columns == {"n": 2}
    assert (found["top"].columns, found["top"].detail) == ({}, "no table names this image")
    assert made.columns() == {"caption", "text", "n", "licence"}
    assert made.unused() == [
        "tables, for images that they do not name: 1 (a generation that needs a column rejects them as not_in_table)"
    ]


def test_an_output_by_position_reads_the_table_of_the_folder_only(photos: Callable[..., Path], source: Build) -> None:
    folder = photos("train/1.jpg", "top.jpg", "store/x.jpg")
    jsonl(folder / "train/metadata.jsonl", {"file_name": "1.jpg", "caption": "a"}, {"file_name": "gone.jpg"})
    jsonl(folder / "metadata.jsonl", {"file_name": "top.jpg", "caption": "b"})
    (folder / "train/linked").symlink_to(folder / "store")
    made = source(folder, rule=POSITIONS)
    assert captions(made) == {"store/x": (), "top": ("b",), "train/1": ()}
    assert made.unused()[:2] == [
        "linked folders: 1 (this output predates following them)",
        "tables: train/metadata.jsonl (this output predates reading tables in subfolders)",
    ]


def test_columns_whose_names_end_in_file_name_name_files(photos: Callable[..., Path], source: Build) -> None:
    folder = photos("a.jpg", "m.png", "b.jpg", "c.jpg", "d.jpg", "sub/e.jpg")
    named = {"file_name": "a.jpg", "mask_file_name": "m.png", "orig_file_name": "x.tif"}
    jsonl(folder / "metadata.jsonl", {**named, "caption": "1"})
    assert captions(source(folder)) == {"a": ("1",), "b": (), "c": (), "d": (), "m": ("1",), "sub/e": ()}
    assert rows(source(folder))["a"].columns["orig_file_name"] == "x.tif"
    jsonl(
        folder / "metadata.jsonl",
        {"left_file_name": "a.jpg", "right_file_name": "b.jpg", "caption": "2"},
        {"file_names": ["c.jpg", "d.jpg"], "caption": "3"},
        {"view_file_names": ["sub\\e.jpg", "gone.jpg"], "caption": "4"},
    )
    found = rows(source(folder))
    assert {name: image.raw_captions for name, image in found.items()} == {
        "a": ("2",), "b": ("2",), "c": ("3",), "d": ("3",), "gone": ("4",), "m": (), "sub/e": ("4",)
    }  # fmt: skip
    assert found["gone"].reason == "missing_image"


def test_one_of_two_tables_in_a_folder_is_read(photos: Callable[..., Path], source: Build) -> None:
    folder = photos("s/a.jpg")
    (folder / "s/metadata.csv").write_text("file_name,caption\na.jpg,from csv\n")
    jsonl(folder / "s/metadata.jsonl", {"file_name": "a.jpg", "caption": "from jsonl"})
    made = source(folder)
    assert captions(made) == {"s/a": ("from csv",)}
    assert made.unused() == ["tables: s/metadata.jsonl (one table is read per folder)"]
    jsonl(folder / "mine.jsonl", {"file_name": "s/a.jpg", "caption": "mine"})
    made = source(folder, captions="mine.jsonl")
    assert captions(made) == {"s/a": ("mine",)}
    assert made.unused() == ["tables: s/metadata.csv, s/metadata.jsonl (source.captions names mine.jsonl)"]
    made = source(folder, captions="s/metadata.jsonl")
    assert made.unused()[:2] == [
        "files that are not images: 1 .jsonl",
        "tables: s/metadata.csv (source.captions names s/metadata.jsonl)",
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_json_list_of_rows_is_a_table(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"file_name": "a.jpg", "caption": "é"}, {"file_name": "b.jpg"}]), encoding)
    assert read_table(str(path)).rows == {"a.jpg": {"caption": "é"}, "b.jpg": {}}


def test_json_lines_in_a_json_file_and_after_a_byte_order_mark(tmp_path: Path) -> None:
    for name in ("t.json", "t.jsonl"):
        path = tmp_path / name
        path.write_text('{"file_name": "a.jpg", "n": 1}\n{"file_name": "b.jpg", "n": 2}\n', "utf-8-sig")
        assert read_table(str(path)).rows == {"a.jpg": {"n": 1}, "b.jpg": {"n": 2}}
    (tmp_path / "t.json").write_text('[{"file_name": "a.jpg"}, 7]')
    with pytest.raises(SourceError, match="item 1: expected an object with file_name, got int"):
        read_table(str(tmp_path / "t.json"))


def test_cells_may_have_any_size_and_the_limit_of_the_csv_module_is_restored(tmp_path: Path) -> None:
    path, limit = tmp_path / "t.csv", csv.field_size_limit()
    path.write_text(f'file_name,caption\na.jpg,"{"x" * 200_000}"\nb.jpg,{"y" * 140_000}\n')
    found = read_table(str(path)).rows
    assert [len(row["caption"]) for row in found.values()] == [200_000, 140_000]
    assert csv.field_size_limit() == limit
    path.write_text('file_name,caption\na.jpg,"open\n')
    with pytest.raises(SourceError, match="line 2"):
        read_table(str(path))
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        (
            "a.csv",
            b"file_name,caption,n,caption,n\na.jpg,x,1,y,2\n",
            r"a\.csv, line 1: more than one column caption, n",
        ),
        ("a.jsonl", b'{"file_name": "a.jpg"}\n{"file_name": "b", "n": 1, "n": 2}', r"a\.jsonl, line 2: repeated key n"),
        ("a.jsonl", b'{"file_name": "a.jpg", "x": {"n": 1, "n": 2}}', r"a\.jsonl, line 1: repeated key n"),
        ("a.json", b'[{"file_name": "a.jpg", "n": 1, "n": 2}]', r"a\.json has objects with a repeated key: n"),
    ],
)
def test_a_repeated_column_is_an_error_that_names_it(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=message):
        read_table(str(tmp_path / name))


def test_a_repeated_column_in_parquet_is_an_error_that_names_it(tmp_path: Path) -> None:
    table = pa.table([["a.jpg"], ["x"], ["y"]], names=["file_name", "caption", "caption"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(SourceError, match="more than one column caption"):
        read_table(str(tmp_path / "a.parquet"))


def test_empty_cells_in_a_csv_header_are_not_repeated_columns(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("file_name,caption,,\na.jpg,x,,\n")  # as spreadsheets write them
    assert read_table(str(tmp_path / "a.csv")).rows["a.jpg"]["caption"] == "x"
