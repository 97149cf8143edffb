from __future__ import annotations

import datetime
import hashlib
import io
import pickle
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recaption.errors import ImageError, ShardError, SourceError
from recaption.source import Source
from recaption.source.parquet import cut
from recaption.types import Image

Build = Callable[..., Source]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def only_shard(source: Source) -> list[Image]:
    (shard,) = source.shards()
    return source.index(shard)


@pytest.fixture
def img2dataset(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    """As img2dataset's ParquetSampleWriter has it: failed rows with a null image."""
    rows: list[dict[str, Any]] = []
    for i in range(5):
        failed = i == 2
        rows.append(
            {
                "url": f"http://example.org/{i}.jpg",
                "caption": None if i == 3 else f"caption {i}",
                "key": f"00000000{i}",
                "status": "failed_to_download" if failed else "success",
                "error_message": "HTTP Error 404: Not Found" if failed else None,
                "width": None if failed else 24,
                "exif": None if failed else "{}",
                "sha256": None if failed else "f" * 64,
                "jpg": None if failed else picture(i),
            }
        )
    path = tmp_path / "00000.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    return path


@pytest.fixture
def hugging_face(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    images = [
        {"bytes": picture(0), "path": "a/cat.jpg"},
        {"bytes": None, "path": "/data/dog.jpg"},
        None,
        {"bytes": b"", "path": None},
        {"bytes": picture(4), "path": None},
    ]
    columns = {
        "image": pa.array(images, STRUCT),
        "text": pa.array(["one", "", None, "four", "five"]),
        "labels": pa.array([[1, 2], [], None, [3], [4]]),
        "thumb": pa.array([b"x"] * 5),
        "score": pa.array([0.5, float("nan"), float("inf"), None, 1.0]),
        "when": pa.array([1, 2, 3, 4, None], pa.timestamp("ns")),
        "price": pa.array([Decimal("1.50")] * 5),
        "day": pa.array([datetime.date(2024, 1, 2)] * 5),
        "box": pa.array([{"x": 1, "y": float("nan")}] * 5),
        "kind": pa.array(["photo"] * 5).dictionary_encode(),
    }
    path = tmp_path / "train-00000-of-00001.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def test_a_parquet_file_of_img2dataset_is_read(img2dataset: Path, source: Build, picture: Callable[..., bytes]) -> None:
    made = source(img2dataset)
    assert made.kind == "parquet"
    images = only_shard(made)
    assert [image.key for image in images] == [f"00000000{i}" for i in range(5)]
    assert [image.reason for image in images] == [None, None, "source_failed", None, None]
    assert images[2].detail == "HTTP Error 404: Not Found"
    assert images[2].sha256 == ""
    assert images[4].sha256 == hashlib.sha256(picture(4)).hexdigest()  # ours, not the column of that name
    assert [image.raw_caption for image in images] == ["caption 0", "caption 1", "caption 2", None, "caption 4"]
    assert images[1].url == "http://example.org/1.jpg"
    assert images[4].locator.row == 4
    assert images[4].locator.size == len(picture(4))
    usable = [image for image in images if image.reason is None]
    assert list(made.read(usable)) == [(image, picture(image.row)) for image in usable]
    assert made.columns() == {"url", "caption", "key", "status", "error_message", "width", "exif", "sha256"}
    assert list(pickle.loads(pickle.dumps(made)).shards()) == list(made.shards())


def test_a_parquet_file_of_hugging_face_is_read(
    hugging_face: Path, source: Build, picture: Callable[..., bytes]
) -> None:
    made = source(hugging_face, raw_caption="text")
    images = only_shard(made)
    assert [image.key for image in images] == [f"000000_00000{i}" for i in range(5)]
    assert images[0].source_key == "a/cat.jpg"
    assert [image.reason for image in images] == [None, "missing_image", "missing_image", "empty", None]
    assert "/data/dog.jpg" in (images[1].detail or "")
    assert [image.raw_caption for image in images] == ["one", None, None, "four", "five"]
    assert images == only_shard(source(hugging_face)), "text is what Hugging Face's examples call it"
    assert images[0].columns == {
        "text": "one",
        "labels": [1, 2],
        "score": 0.5,
        "when": "1970-01-01 00:00:00.000000001",
        "price": "1.50",
        "day": "2024-01-02",
        "box": {"x": 1, "y": None},
        "kind": "photo",
    }
    assert [image.columns["score"] for image in images] == [0.5, None, None, None, 1.0]
    assert [data for _, data in made.read([images[0], images[4]])] == [picture(0), picture(4)]


def test_a_folder_of_parquet_files_is_read(img2dataset: Path, source: Build) -> None:
    (img2dataset.parent / "00001.parquet").write_bytes(img2dataset.read_bytes())
    made = source(img2dataset.parent)
    assert [(shard.id, shard.number) for shard in made.shards()] == [("00000", 0), ("00001", 1)]


def test_source_image_and_source_key_name_columns(tmp_path: Path, source: Build) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"pixels": [b"1", b"2"], "id": [7, 8], "image": ["a.jpg", "b.jpg"]}), path)
    images = only_shard(source(path, image="pixels", key="id"))
    assert [(image.key, image.columns) for image in images] == [
        ("7", {"id": 7, "image": "a.jpg"}),
        ("8", {"id": 8, "image": "b.jpg"}),
    ]


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({"image": ["a.jpg"]}, {}, r"'image' is string, which holds no images\. Allowed: binary .* or struct<bytes"),
        ({"url": ["a"], "text": ["b"]}, {}, r"no image column .*its columns are url \(string\), text \(string\)"),
        ({"jpg": [b"1"]}, {"image": "img"}, "no image column 'img'"),
        ({"jpg": [b"1"]}, {"key": "id"}, "no text column 'id'"),
        ({"jpg": [b"1"], "alt": ["x"]}, {"raw_caption": "text"}, "no column 'text'; it has alt"),
    ],
)
def test_wrong_columns_are_errors_that_name_the_columns(
    tmp_path: Path, source: Build, columns: dict[str, list], settings: dict[str, str], message: str
) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(SourceError, match=message):
        source(path, **settings).columns()


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 20))
def test_cuts_cover_all_rows_once(groups: list[int], size: int) -> None:
    parts = cut(groups, size)
    assert [row for first, count in parts for row in range(first, first + count)] == list(range(sum(groups)))
    assert all(0 < count <= size for _, count in parts)
    bounds = {first for first, _ in parts}
    for i, rows in enumerate(groups):  # a row group that fits into a part lies in one
        start = sum(groups[:i])
        assert rows > size or not bounds & set(range(start + 1, start + rows))


def test_large_files_are_cut(tmp_path: Path, source: Build) -> None:
    table = pa.table({"jpg": [f"{i}".encode() for i in range(12_000)]})
    pq.write_table(table, tmp_path / "big.parquet", row_group_size=12_000)
    pq.write_table(table.slice(0, 10), tmp_path / "part-000001.parquet")
    pq.write_table(table.slice(0, 10), tmp_path / "small.parquet")
    made = source(tmp_path)
    listed = list(made.shards())
    assert [(s.id, s.number, s.first, s.count) for s in listed] == [
        ("big-000000", 0, 0, 5000),
        ("big-000001", 1, 5000, 5000),
        ("big-000002", 2, 10000, 2000),
        ("part-000001-000000", 3, 0, 10),
        ("small", 4, 0, None),
    ]
    images = made.index(listed[1])
    assert [image.row for image in images] == list(range(5000))
    assert (images[0].key, images[0].locator.row) == ("000001_000000", 5000)
    some = images[100:400:7]
    assert [data for _, data in made.read(some)] == [str(image.locator.row).encode() for image in some]
    assert len({made.signature(shard) for shard in listed}) == 5


def test_a_corrupt_row_group_keeps_its_rows(tmp_path: Path, source: Build) -> None:
    path = tmp_path / "x.parquet"
    table = pa.table({"jpg": [bytes([i]) * 3000 for i in range(6)], "n": list(range(6))})
    pq.write_table(table, path, row_group_size=2, compression="NONE", use_dictionary=False)
    made = source(path)
    before = only_shard(made)
    column = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    images = only_shard(made)
    assert [image.reason for image in images] == [None, None, "unreadable", "unreadable", None, None]
    assert "cannot be decoded" in (images[2].detail or "")
    results = [data for _, data in made.read(before)]
    assert [getattr(r, "reason", None) for r in results] == [None, None, "unreadable", "unreadable", None, None]


def test_a_file_that_is_no_parquet_is_one_row(img2dataset: Path, source: Build) -> None:
    (img2dataset.parent / "00001.parquet").write_bytes(b"<html>404</html>")
    made = source(img2dataset.parent)
    images = [image for shard in made.shards() for image in made.index(shard)]
    assert [image.reason for image in images[5:]] == ["unreadable"]
    img2dataset.unlink()
    with pytest.raises(SourceError, match="none of its files"):
        source(img2dataset.parent / "*.parquet").columns()


def test_changed_and_missing_files_are_errors_of_the_shard(
    img2dataset: Path, source: Build, picture: Callable[..., bytes]
) -> None:
    made = source(img2dataset)
    usable = [image for image in only_shard(made) if image.reason is None]
    table = pq.read_table(img2dataset)
    pq.write_table(table.slice(0, 2).append_column("more", [[1, 2]]), img2dataset)
    results = [data for _, data in made.read(usable)]
    assert results[:2] == [picture(0), picture(1)]
    assert [r.reason for r in results[2:] if isinstance(r, ImageError)] == ["changed", "changed"]
    pq.write_table(table.drop_columns(["jpg"]), img2dataset)
    with pytest.raises(ShardError, match="has changed since it was indexed"):
        list(made.read(usable))
    img2dataset.unlink()
    with pytest.raises(ShardError, match="cannot read"):
        list(made.read(usable))


def test_parquet_files_may_be_remote(img2dataset: Path, source: Build, picture: Callable[..., bytes]) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/hf/00000.parquet", img2dataset.read_bytes())
    made = source("memory://hf/*.parquet")
    images = only_shard(made)
    assert [data for _, data in made.read(images[:2])] == [picture(0), picture(1)]
    assert made.columns() == source(img2dataset).columns()
    memory.rm("/hf", recursive=True)


def test_text_that_is_not_utf_8_does_not_stop_the_shard(tmp_path: Path, source: Build) -> None:
    bad = pa.StringArray.from_buffers(2, pa.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), pa.py_buffer(b"ok\xff\xfe"))
    out = io.BytesIO()
    pq.write_table(pa.table({"jpg": [b"1", b"2"], "caption": bad}), out)
    (tmp_path / "x.parquet").write_bytes(out.getvalue())
    assert [image.raw_caption for image in only_shard(source(tmp_path))] == ["ok", "\ufffd\ufffd"]


def test_all_captions_of_a_list_are_kept(tmp_path: Path, source: Build, picture: Callable[..., bytes]) -> None:
    captions = [["one", " ", "two"], [], None]
    table = pa.table({"image": [picture(i) for i in range(3)], "caption": captions})
    pq.write_table(table, tmp_path / "x.parquet")
    assert [image.raw_captions for image in only_shard(source(tmp_path / "x.parquet"))] == [("one", "two"), (), ()]
