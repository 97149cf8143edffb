"""Lists of URLs of every kind become the same Parquet files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption.errors import UserError
from recaption.source import urllist


def read(path: Path, url: str = "url", caption: str | None = "caption") -> pa.Table:
    folder = path.with_name("urls")
    urllist.write(str(path), folder, url, caption, 2)
    assert [file.name for file in folder.iterdir()] == ["00-00000.parquet"]
    assert not folder.with_name("list").exists()
    return pq.read_table(folder)


ROWS = [{"url": f"http://h/{n}", "caption": f'猫 "{n}",\nzwei', "score": f"0{n}"} for n in range(5)]
CSV = "url,caption,score\n" + "".join(
    '{},"{}",{}\n'.format(r["url"], r["caption"].replace('"', '""'), r["score"]) for r in ROWS
)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", CSV.encode()),
        ("a.csv.gz", gzip.compress(CSV.encode())),
        ("a.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("a.tsv", CSV.replace("http://h/", "http;//h/").replace(",", "\t").replace("http;", "http:").encode()),
        ("a.jsonl", b"\n".join(json.dumps(r).encode() for r in ROWS) + b"\n\n"),
        ("a.json", json.dumps(ROWS).encode()),
    ],
)
def test_lists_of_every_kind_give_the_same_table(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    table = read(tmp_path / name)
    assert table["row"].to_pylist() == list(range(5))
    assert table["url"].to_pylist() == [r["url"] for r in ROWS]
    captions = [r["caption"].replace(",", "\t") if name == "a.tsv" else r["caption"] for r in ROWS]
    assert table["caption"].to_pylist() == captions
    assert table["score"].to_pylist() == [r["score"] for r in ROWS]  # 00, 01: not numbers


def test_json_keeps_plain_types_and_columns_that_come_late(tmp_path: Path) -> None:
    rows = [{"url": "a", "caption": None, "n": 1}, {"url": "b", "tags": ["x"], "n": 2.5, "mixed": 1}, {"mixed": "y"}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = read(tmp_path / "a.jsonl")
    assert table["n"].to_pylist() == [1.0, 2.5, None]
    assert table["tags"].to_pylist() == [None, "[x]", None]
    assert table["mixed"].to_pylist() == [None, "1", "y"]
    assert table["url"].to_pylist() == ["a", "b", ""]


def test_a_folder_of_files_and_names_that_img2dataset_uses(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(pa.table({"URL": ["a", "b", "c"], "sha256": ["x"] * 3}), folder / "0.parquet")
    pq.write_table(pa.table({"URL": ["d"], "more": [1]}), folder / "1.parquet")
    assert read(folder, url="URL", caption=None).to_pydict() == {
        "row": [0, 1, 2, 3],
        "url": ["a", "b", "c", "d"],
        "input_sha256": ["x", "x", "x", None],
        "more": [None, None, None, 1],
    }


def test_files_with_different_types_of_a_column_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(pa.table({"url": ["a"], "n": [1]}), folder / "0.parquet")
    pq.write_table(pa.table({"url": ["d"], "n": [["x"]]}), folder / "1.parquet")
    with pytest.raises(UserError, match=r"cannot read list of URLs"):
        read(folder, caption=None)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        (
            "a.csv",
            b"link,text\nx,y\n",
            "no column 'url'; its columns are: link, text. Name one with --url-column. A csv",
        ),
        ("a.tsv", b"a dog\thttp://h/1\n", "needs a header line"),
        ("a.csv", b"url,text\nx,y\n", "no column 'caption'.*an empty name for a list without captions"),
        ("a.csv", b"url,caption\nx,y\nx,y,z\n", "cannot read list of URLs .*a.csv: .*parsing dialect"),
        ("a.jsonl", b'{"url": "x", "caption": "y"}\n{"url": \n', "Malformed JSON"),
        ("a.json", b"[1]", "no column 'url'"),
        ("a.parquet", b"no parquet", "cannot read"),
        ("a.xlsx", b"", "expected a .txt, .csv"),
    ],
)
def test_the_message_names_what_is_wrong_with_a_list(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=words):
        read(tmp_path / name)


def test_each_line_of_a_txt_is_a_url(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text('http://h/1\n\n  \n http://h/ü,"x \n')
    assert read(tmp_path / "a.txt").to_pydict() == {"row": [0, 1], "url": ["http://h/1", 'http://h/ü,"x']}


def test_values_that_json_lacks_become_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "url": ["a", None],
            "when": pa.array([0, None], pa.timestamp("s")),
            "score": [0.5, float("nan")],
            "box": [{"x": 1, "at": [2]}, None],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", caption=None).to_pydict() == {
        "row": [0, 1],
        "url": ["a", ""],
        "when": ["1970-01-01 00:00:00", None],
        "score": [0.5, None],
        "box": ["{'x': 1, 'at': [2]}", None],
    }


def test_long_lists_are_split_at_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllist, "_FILE_ROWS", 5)
    (tmp_path / "a.txt").write_text("\n".join(f"http://h/{n}" for n in range(10)))
    urllist.write(str(tmp_path / "a.txt"), tmp_path / "urls", "url", "caption", 2)
    files = [pq.read_table(path)["row"].to_pylist() for path in sorted((tmp_path / "urls").iterdir())]
    assert files == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_files_that_are_no_list_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        urllist.find(str(tmp_path / "a.csv"))
    with pytest.raises(UserError, match="Found: none of these"):
        urllist.find(str(tmp_path))
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.txt.gz").touch()
    with pytest.raises(UserError, match="Found: csv, txt"):
        urllist.find(str(tmp_path))
