"""recaption.source.classes: rows without images."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption.config import Source as SourceConfig
from recaption.errors import SourceError
from recaption.source import Source, open_source
from recaption.text import sha256
from recaption.types import Image

NAMES = ["tabby", "snowy owl", "010"]


def source(path: Path, **settings: Any) -> Source:
    return open_source(SourceConfig(path=str(path), format="classes", **settings))


def classes(path: Path, **settings: Any) -> list[Image]:
    found = source(path, **settings)
    return [image for shard in found.shards() for image in found.index(shard)]


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("txt", "tabby\n\n snowy  owl \n010\n"),
        ("csv", 'name,group\ntabby,cat\n"snowy owl",bird\n010,\n'),
        ("json", json.dumps(NAMES)),
        ("json", json.dumps({"tabby": {"group": "cat"}, "snowy owl": None, "010": {}})),
        ("json", json.dumps([{"class": name, "group": "x"} for name in NAMES])),
        ("yaml", "- tabby\n- snowy owl\n- 010\n"),
        ("yml", "tabby: {group: cat}\nsnowy owl:\n010: {}\n"),
    ],
)
def test_the_names_of_the_classes(tmp_path: Path, suffix: str, content: str) -> None:
    (tmp_path / f"c.{suffix}").write_text(content)
    found = classes(tmp_path / f"c.{suffix}")
    assert [image.source_key for image in found] == NAMES
    assert [image.key for image in found] == ["tabby", "000000_000001", "010"]
    assert [image.raw_captions for image in found] == [(name,) for name in NAMES]
    assert [image.sha256 for image in found] == [sha256(name) for name in NAMES]
    assert all(image.reason is None and image.width is None and image.locator.size == 0 for image in found)


def test_columns_of_a_parquet_file_are_for_prompts(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1, 2], "species": ["owl", "lark"], "size": [60, 18]}), tmp_path / "c.parquet")
    made = source(tmp_path / "c.parquet", key="species")
    assert made.columns() == {"id", "species", "size"} and not made.has_images and list(made.unused()) == []
    found = classes(tmp_path / "c.parquet", key="species")
    assert [image.columns for image in found] == [
        {"id": 1, "species": "owl", "size": 60},
        {"id": 2, "species": "lark", "size": 18},
    ]
    assert list(pickle.loads(pickle.dumps(made)).read(found)) == [(image, b"") for image in found]


def test_each_file_is_a_shard(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(f"{name} owl\n")
    assert [image.source_key for image in classes(tmp_path / "*.txt")] == ["a owl", "b owl"]
    assert [shard.id for shard in source(tmp_path / "*.txt").shards()] == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("c.txt", "owl\nlark\nowl\n", "line 3: the class 'owl' is also in line 1"),
        ("c.txt", "\n", "has no classes"),
        ("c.csv", "id;name\n1;owl\n", "no column name or class or class_name or label; .*separated by semicolons"),
        ("c.csv", "name\n\n' '\nowl,x\n", "cells for 1 column"),
        ("c.json", "[1, true]", "item 1: expected a name or an object, got True"),
        ("c.json", '"owl"', "expected a list of class names"),
        ("c.json", '[{"name": " "}]', "item 0: the class has no name"),
        ("c.json", "[", "is not JSON"),
        ("c.yaml", "- owl\n- {x: 1}\n", "item 1: no column name"),
        ("c.yaml", "a: [", "is not YAML"),
        ("c.tar", "", "format classes reads files with the suffixes .txt, .csv"),
        ("c.parquet", "owl", "is not a readable Parquet file"),
    ],
)
def test_files_that_are_no_list_of_classes(tmp_path: Path, name: str, content: str, problem: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError, match=problem):
        classes(tmp_path / name)


def test_a_column_that_is_missing_and_a_file_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "c.txt").write_text("owl\n")
    with pytest.raises(SourceError, match="no column 'species'; it has name"):
        classes(tmp_path / "c.txt", key="species")
    with pytest.raises(SourceError, match=r"source\.path"):
        classes(tmp_path / "d.txt")
