"""Builds: the same bytes whoever makes them in whatever order, and which revision is the newest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from local_pool import LocalPool, build
from samples import jpeg, sample, write_tar
from small_output import answer_all, pipeline_data, write_source

from recaption import config
from recaption.errors import ConfigError
from recaption.run.builder import format_of
from recaption.run.pool import RayPool
from recaption.store import open_store
from recaption.write import current_build, prune


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two outputs, out and other, that hold the same answers of the same source."""
    folder = tmp_path_factory.mktemp("builder")
    write_source(folder, shards=4, per_shard=5)
    answer_all(pipeline_data(folder))
    shutil.copytree(folder / "out", folder / "other")
    return folder


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize(
    ("form", "size"),
    [("sidecar", "source"), ("webdataset", "source"), ("parquet", "source"), ("webdataset", 3), ("parquet", 7)],
)
def test_the_same_answers_are_the_same_bytes(answered: Path, form: str, size: int | str) -> None:
    output: dict[str, Any] = {"format": form, "samples_per_shard": size, "holdout": {"fraction": 0.2}}
    data = pipeline_data(answered)
    alone, _ = build(data | {"output": {"path": str(answered / "out"), **output}}, LocalPool(seed=5))
    many, _ = build(data | {"output": {"path": str(answered / "other"), **output}}, RayPool())
    assert alone.name == many.name
    one, other = files(alone), files(many)
    assert sorted(one) == sorted(other)
    assert [path for path in one if one[path] != other[path]] == []
    assert len(list(alone.glob("data/0*"))) >= 3


def test_after_pruning_the_newest_revision_is_still_found(tmp_path: Path) -> None:
    data = pipeline_data(tmp_path)
    data["annotate"] = {"splitter": "flair_regex"}
    write_source(tmp_path, shards=1)
    answer_all(data)
    names = []
    for images in (4, 5, 6):
        write_source(tmp_path, shards=1, per_shard=images)
        answer_all(data)
        made, new = build(data)
        names.append(made.name)
        assert new
    assert names == [names[0], f"{names[0]}-r1", f"{names[0]}-r2"]
    store = open_store(str(tmp_path / "out"))
    assert prune(store).builds == 2
    assert build(data) == (tmp_path / "out" / "builds" / names[2], False), "nothing has changed"
    write_source(tmp_path, shards=1, per_shard=7)
    answer_all(data)
    made, new = build(data)
    assert new and made.name == f"{names[0]}-r3" == current_build(store)


@pytest.mark.parametrize("form", ["sidecar", "webdataset", "parquet"])
def test_a_build_has_no_signature_of_a_url(tmp_path: Path, form: str) -> None:
    data = pipeline_data(tmp_path)
    data["output"] |= {"format": form, "card": {"license": "cc0", "source": "https://x.test/?token=SECRET9"}}
    url = "https://b.s3.test/a.jpg?X-Amz-Date=1&X-Amz-Signature=SECRET9"
    samples = [sample(f"k{i}", jpeg(i), f"alt of {url}", url=url) for i in range(3)]
    samples.append({"none.json": json.dumps({"url": url}).encode()})
    write_tar(tmp_path / "source" / "0.tar", samples)
    answer_all(data)
    made, _ = build(data)
    tables = {path: pq.read_table(path).to_pylist() for path in made.rglob("*.parquet")}
    assert len(tables) >= 5
    texts = {path: str(rows) for path, rows in tables.items()}
    texts |= {path: path.read_bytes().decode("latin-1") for path in made.rglob("*") if path.is_file()}
    assert [path for path, text in texts.items() if "SECRET9" in text] == []
    images = pq.read_table(made / "images" / "0.parquet")["url"].to_pylist()
    assert images == ["https://b.s3.test/a.jpg?X-Amz-Date=1&X-Amz-Signature=***"] * 4
    assert pq.read_table(tmp_path / "out" / "index" / "0.parquet")["url"].to_pylist() == [url] * 4
    if form == "webdataset":
        assert b"X-Amz-Signature=***" in next((made / "data").glob("*.tar")).read_bytes()


@pytest.mark.parametrize(
    ("output", "kind", "found"),
    [
        ({}, "webdataset", "sidecar"),
        ({}, "folder", "parquet"),
        ({"samples_per_shard": 5}, "parquet", "parquet"),
        ({"samples_per_shard": 5, "format": "webdataset"}, "webdataset", "webdataset"),
        ({"samples_per_shard": 5}, "webdataset", "auto, which is sidecar for a source of tars"),
        ({"samples_per_shard": 5, "format": "sidecar"}, "folder", "sidecar, a row for each sample of a source tar"),
    ],
)
def test_the_format_and_which_cannot_be_cut(tmp_path: Path, output: dict[str, Any], kind: str, found: str) -> None:
    pipeline = config.validate(pipeline_data(tmp_path, output={"path": "out", **output}))
    if " " not in found:
        assert format_of(pipeline, kind) == found
        return
    with pytest.raises(ConfigError, match=f"output.samples_per_shard is 5, but output.format is {found}"):
        format_of(pipeline, kind)


def test_builds_from_before_there_was_a_choice_keep_their_names(tmp_path: Path) -> None:
    """Neither the default nor what is only said about the trainer makes an output be built again."""
    data = pipeline_data(tmp_path)
    write_source(tmp_path, shards=1)
    answer_all(data)
    first, _ = build(data)
    data["output"] = {**data["output"], "samples_per_shard": "source", "trainer": {"gpus": 8, "workers": 4}}
    assert build(data) == (first, False)
