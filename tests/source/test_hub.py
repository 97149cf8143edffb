"""Datasets of the Hugging Face Hub as sources: by their files, and by name. The Hub is a server on loopback."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub_server import TOKEN, Hub, Repository, hub_server
from samples import jpeg

from recaption.config import Source
from recaption.errors import SourceError
from recaption.source import hub as module
from recaption.source.hub import data_files, grouped

TARS = Path(__file__).parents[1] / "golden" / "source"
CARD = b"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.tar
- config_name: tables
  data_files:
  - split: train
    path: parquet/train-*.parquet
  - split: test
    path: parquet/test-*.parquet
---
"""
READER = """
import json, sys
from recaption.config import Source
from recaption.errors import RecaptionError, SourceError
from recaption.source import open_source

for settings in json.loads(sys.stdin.read()):
    try:
        source = open_source(Source(**settings))
        shards = list(source.shards())
        made = {"kind": source.kind, "shards": [s.id for s in shards], "paths": [s.path for s in shards], "images": []}
        for shard in shards:
            usable = [image for image in source.index(shard) if image.reason is None]
            made["images"] += [[i.key, i.sha256, len(data)] for i, data in source.read(usable)]
        made["stamped"] = source.signature(shards[0]) is not None
    except (SourceError, RecaptionError) as error:
        made = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(made))
"""


def table(first: int, count: int) -> bytes:
    rows = [
        {"image": {"bytes": jpeg(n), "path": f"{n}.jpg"}, "caption": f"image {n}"} for n in range(first, first + count)
    ]
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=4)
    return file.getvalue()


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with hub_server() as server:
        files = {f"data/{path.name}": path.read_bytes() for path in sorted(TARS.glob("*.tar"))}
        files |= {"README.md": CARD, "parquet/train-0.parquet": table(0, 9), "parquet/train-1.parquet": table(9, 3)}
        files["parquet/test-0.parquet"] = table(50, 2)
        server.repositories["org/scenes"] = Repository(files=files, commits=[[]])
        yield server


SOURCES: dict[str, dict[str, Any]] = {
    "glob": {"path": "hf://datasets/org/scenes/data/*.tar"},
    "folder": {"path": "hf://datasets/org/scenes/data"},
    "braces": {"path": "hf://datasets/org/scenes@main/data/{00000..00001}.tar"},
    "name": {"path": "hf://datasets/org/scenes"},
    "parquet": {"path": "hf://datasets/org/scenes/parquet/train-*.parquet"},
    "config": {"path": "hf://datasets/org/scenes", "config": "tables"},
    "test": {"path": "hf://datasets/org/scenes", "config": "tables", "split": "test"},
    "no config": {"path": "hf://datasets/org/scenes", "config": "nosuch"},
    "no split": {"path": "hf://datasets/org/scenes", "split": "nosuch"},
    "no dataset": {"path": "hf://datasets/org/nothing"},
    "no file": {"path": "hf://datasets/org/scenes/nothing/*.tar"},
}


@pytest.fixture(scope="module")
def found(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the sources have. The Hub's client takes its address when it is imported, so they are read elsewhere."""
    home = tmp_path_factory.mktemp("hf")
    # Other tests set these, so that no engine reaches the Hub.
    environment = {n: value for n, value in os.environ.items() if not n.startswith("HF_") and "OFFLINE" not in n}
    environment |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input=json.dumps(list(SOURCES.values())),
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(SOURCES, map(json.loads, done.stdout.splitlines()), strict=True))


def local(path: str) -> list[Any]:
    from recaption.source import open_source

    source = open_source(Source(path=path))
    usable = [image for shard in source.shards() for image in source.index(shard) if image.reason is None]
    return [[image.key, image.sha256] for image in usable]


@pytest.mark.parametrize("name", ["glob", "folder", "braces", "name"])
def test_tars_are_those_of_a_disk(name: str, found: dict[str, Any], looks: None) -> None:
    made = found[name]
    assert made["kind"] == "webdataset" and made["shards"] == ["00000", "00001"] and made["stamped"]
    assert [image[:2] for image in made["images"]] == local(str(TARS))


def test_tars_are_read_by_ranges(hub: Hub, found: dict[str, Any]) -> None:
    assert any(entry.startswith("data/00000.tar bytes=512-") for entry in hub.ranges)


@pytest.mark.parametrize(("name", "images"), [("parquet", 12), ("config", 12), ("test", 2)])
def test_parquet_files_by_path_and_by_config_and_split(name: str, images: int, found: dict[str, Any]) -> None:
    assert found[name]["kind"] == "parquet" and len(found[name]["images"]) == images


def test_a_dataset_by_name_is_pinned_to_its_commit_and_its_shards_keep_their_ids(found: dict[str, Any]) -> None:
    assert all(f"@{1:040x}/" in path for path in found["name"]["paths"])
    assert found["name"]["shards"] == found["glob"]["shards"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no config", "SourceError: source.path: org/scenes: BuilderConfig 'nosuch' not found. Available: "),
        ("no split", "SourceError: source.split 'nosuch': org/scenes has no such split. It has: train"),
        ("no dataset", "a private or gated dataset needs a token"),
        ("no file", "no file matches 'hf://datasets/org/scenes/nothing/*.tar'"),
    ],
)
def test_what_is_not_there_is_named_with_what_is(name: str, message: str, found: dict[str, Any]) -> None:
    assert message in found[name]["error"]


def test_config_and_split_are_for_datasets_of_the_hub_only() -> None:
    with pytest.raises(SourceError, match=r"source\.config and source\.split choose files of a dataset"):
        data_files(Source(path="/data/*.tar", split="train"))
    assert data_files(Source(path="hf://datasets/org/name/data/*.tar")) == "hf://datasets/org/name/data/*.tar"


def test_a_path_that_names_no_dataset_says_how_to() -> None:
    with pytest.raises(SourceError, match="Write hf://datasets/ORG/NAME"):
        data_files(Source(path="hf://org/name"))


def test_files_are_grouped_by_folder() -> None:
    assert grouped(["hf://x/a/1.tar", "hf://x/a/2.tar", "hf://x/b/1.tar"]) == "hf://x/a/{1.tar,2.tar}::hf://x/b/1.tar"
    with pytest.raises(SourceError, match="which patterns use"):
        grouped(["hf://x/a/1,2.tar"])


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from recaption.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"recaption\[hub\]"):
        module.data_files(Source(path="hf://datasets/org/scenes"))
