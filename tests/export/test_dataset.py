from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recaption.errors import DatasetError, ShardError, UserError
from recaption.export import load
from recaption.export.base import Options
from recaption.export.dataset import Dataset
from recaption.export.pixels import with_pictures
from recaption.validate import validate_output

GOLDEN = Path(__file__).parent.parent / "golden"
FORMATS = ("webdataset", "parquet", "sidecar")


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the golden output, with its source beside it and the pipeline that it could come from."""
    shutil.copytree(GOLDEN / "output", tmp_path / "output", symlinks=True)
    shutil.copytree(GOLDEN / "source", tmp_path / "source")
    monkeypatch.chdir(tmp_path)  # the golden index names its files relatively
    pipeline = {
        "name": "golden",
        "source": {"path": "source/*.tar"},
        "models": {"m": {"engine": "column"}},
        "generate": [{"id": "long", "model": "m", "column": "caption"}],
        "output": {"path": "output"},
    }
    (tmp_path / "output" / "pipeline.yaml").write_text(json.dumps(pipeline))
    return tmp_path / "output"


@pytest.mark.parametrize("below", ["", "dataset", "builds/webdataset", "builds/webdataset/"])
def test_an_output_its_dataset_and_a_build_are_opened(golden: Path, below: str) -> None:
    dataset = Dataset.open(f"{golden}/{below}")
    assert (dataset.name, dataset.format, dataset.kinds) == ("golden", "webdataset", {"long": "long", "short": "short"})
    assert (dataset.samples("train"), dataset.samples("val"), dataset.samples("all")) == (13, 3, 16)
    assert [shard.name for shard in dataset.shards] == ["00000", "00001"]


def test_outputs_on_object_stores_are_opened(golden: Path) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.put(str(golden / "builds" / "parquet"), "/bucket/out/builds/parquet", recursive=True)
    store.pipe_file("/bucket/out/CURRENT", b"builds/parquet")
    try:
        for url in ("memory://bucket/out", "memory://bucket/out/dataset", "memory://bucket/out/builds/parquet"):
            dataset = Dataset.open(url)
            shard = dataset.shards[0]
            remote = [(r.key, p and p.data) for r, p in with_pictures(dataset, shard, "all")]
            here = Dataset.open(str(golden / "builds/parquet"))
            assert remote == [(r.key, p and p.data) for r, p in with_pictures(here, shard, "all")]
    finally:
        store.rm("/bucket", recursive=True)


def test_copies_of_outputs_are_opened(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden, tmp_path / "followed")  # links become folders
    assert Dataset.open(str(tmp_path / "followed")).prefix == "dataset"
    (golden / "dataset").unlink()
    (golden / "CURRENT").write_text("builds/parquet")  # as a copy of a bucket has it
    assert Dataset.open(str(golden)).format == "parquet"


def test_what_is_no_finished_build_is_refused(golden: Path, tmp_path: Path) -> None:
    for path, message in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "source", "no dataset of recaption")):
        with pytest.raises(UserError, match=message):
            Dataset.open(str(path))
    (golden / "dataset").unlink()
    with pytest.raises(UserError, match="no build of it is published"):
        Dataset.open(str(golden))
    manifest = golden / "builds/webdataset/manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": "1.', '"schema_version": "2.'))
    with pytest.raises(DatasetError, match=r"schema version 2"):
        Dataset.open(str(manifest.parent))
    manifest.unlink()
    (golden / "dataset").symlink_to("builds/webdataset")
    with pytest.raises(DatasetError, match="not finished"):
        Dataset.open(str(golden))


@pytest.mark.parametrize("format", FORMATS)
def test_records_come_in_source_order_with_their_texts(golden: Path, format: str) -> None:
    dataset = Dataset.open(str(golden / "builds" / format))
    records = [r for shard in dataset.shards for r in dataset.records(shard, "all", sub_captions=True)]
    assert len(records) == 16
    assert [(r.shard, r.row) for r in records] == sorted((r.shard, r.row) for r in records)
    keys = [r.key for r in records]
    assert keys != sorted(keys), "the tables are sorted by key: one key of the golden source sorts elsewhere"
    for record in records:
        assert record.captions and all(c.caption_id.startswith(f"{record.key}/") for c in record.captions)
        for caption in record.captions:
            assert caption.sub_captions and [s.idx for s in caption.sub_captions] == list(
                range(len(caption.sub_captions))
            )
            assert all(caption.text[s.char_start : s.char_end] == s.text for s in caption.sub_captions)
    by_split = [r.key for split in ("train", "val") for s in dataset.shards for r in dataset.records(s, split)]
    assert sorted(by_split) == sorted(keys)
    assert not any(c.sub_captions for r in dataset.records(dataset.shards[0]) for c in r.captions)


@pytest.mark.parametrize("split", ["train", "all"])
def test_every_format_gives_the_same_pictures(golden: Path, split: Any) -> None:
    found = {}
    for format in FORMATS:
        dataset = Dataset.open(str(golden / "builds" / format))
        rows = [pair for shard in dataset.shards for pair in with_pictures(dataset, shard, split)]
        assert all(picture is not None and picture.suffix == "jpg" for _, picture in rows)
        found[format] = [(r.key, hashlib.sha256(p.data).hexdigest()) for r, p in rows if p]
        untouched = [(r, p) for r, p in rows if p and hashlib.sha256(p.data).hexdigest() == r.sha256]
        assert 0 < len(untouched) < len(rows), "JPEGs are as they were, PNGs and WebPs are not"
    assert found["webdataset"] == found["parquet"] == found["sidecar"]
    assert len(found["sidecar"]) == (13 if split == "train" else 16)


def test_images_that_the_source_has_changed_are_none(golden: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(str(golden / "builds/sidecar"))
    tar = tmp_path / "source" / "00000.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1  # within the first image
    tar.write_bytes(data)
    rows = list(with_pictures(dataset, dataset.shards[0], "all"))
    assert [record.row for record, picture in rows if picture is None] == [0]


def test_samples_without_their_image_are_left_out_of_tars(golden: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(str(golden / "builds/sidecar"))
    tar = tmp_path / "source" / "00000.tar"
    tar.write_bytes(bytes(tar.stat().st_size))
    done = load("flair").export(dataset, str(tmp_path / "a"), Options())
    assert (done.samples, done.left_out) == (7, {"the source no longer has the image as it was": 6})
    other = tar.with_name("00001.tar")
    other.write_bytes(bytes(other.stat().st_size))
    with pytest.raises(DatasetError, match="none of the images of golden"):
        load("flair").export(dataset, str(tmp_path / "b"), Options())


def test_a_sidecar_without_its_output_says_what_is_missing(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "builds/sidecar", tmp_path / "copy")
    dataset = Dataset.open(str(tmp_path / "copy"))
    assert len(list(dataset.records(dataset.shards[0]))) == 6
    with pytest.raises(DatasetError, match="copied out of its output"):
        list(with_pictures(dataset, dataset.shards[0]))


def test_a_sidecar_whose_pipeline_is_gone_says_so(golden: Path) -> None:
    (golden / "pipeline.yaml").unlink()
    dataset = Dataset.open(str(golden / "builds/sidecar"))
    with pytest.raises(DatasetError, match="does not say where its images came from"):
        list(with_pictures(dataset, dataset.shards[0]))


@pytest.fixture
def host() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that has no files, and the paths of the requests that it received."""
    requested: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", requested
    server.shutdown()
    thread.join()
    server.server_close()


def index_elsewhere(golden: Path, shard: str, folder: str) -> None:
    """Let the index of a shard place its images in a tar below `folder`."""
    path = golden / f"index/{shard}.parquet"
    table = pq.read_table(path)
    at = table.column_names.index("path")
    moved = pa.array([f"{folder}/{shard}.tar"] * len(table), table.schema.field(at).type)
    pq.write_table(table.set_column(at, table.schema.field(at), moved), path)


def test_a_host_that_only_the_output_names_gets_no_request(golden: Path, host: tuple[str, list[str]]) -> None:
    url, requested = host
    stored = golden / "pipeline.yaml"
    before = yaml.safe_load(stored.read_text())
    stored.write_text(yaml.safe_dump(before | {"source": {"path": f"{url}/{{00000..00001}}.tar"}}))
    dataset = Dataset.open(str(golden / "builds/sidecar"))
    with pytest.raises(UserError, match=rf"(?s)source\.path: {url}.*--pipeline FILE"):
        list(with_pictures(dataset, dataset.shards[0]))
    stored.write_text(yaml.safe_dump(before))
    index_elsewhere(golden, "00000", url)
    with pytest.raises(UserError, match=rf"(?s)index: {url}/00000\.tar.*--pipeline FILE"):
        list(with_pictures(dataset, dataset.shards[0]))
    assert [p.kind for p in validate_output(str(golden / "builds/sidecar"))].count("no source") == 1
    assert requested == []


def test_a_host_that_the_user_names_is_read(golden: Path, tmp_path: Path, host: tuple[str, list[str]]) -> None:
    url, requested = host
    own = tmp_path / "own.yaml"
    data = yaml.safe_load((golden / "pipeline.yaml").read_text())
    own.write_text(yaml.safe_dump(data | {"source": {"path": f"{url}/{{00000..00001}}.tar"}}))
    index_elsewhere(golden, "00000", url)
    dataset = Dataset.open(str(golden / "builds/sidecar"), own)
    with pytest.raises(ShardError):
        list(with_pictures(dataset, dataset.shards[0]))
    assert set(requested) == {"/00000.tar"}, "the host is asked: the test of the refusal is none else"
    requested.clear()
    index_elsewhere(golden, "00000", "http://localhost:1")  # another host than the one that was named
    with pytest.raises(UserError, match="index: http://localhost:1/00000"):
        list(with_pictures(dataset, dataset.shards[0]))


def test_a_tar_of_another_build_is_noticed(golden: Path) -> None:
    data = golden / "builds/webdataset/data"
    for suffix in ("tar", "tar.idx"):
        shutil.copy(data / f"00001.{suffix}", data / f"00000.{suffix}")
    dataset = Dataset.open(str(golden))
    with pytest.raises(DatasetError, match=r"has 000000012 here"):
        list(with_pictures(dataset, dataset.shards[0]))


def test_a_missing_table_is_named(golden: Path) -> None:
    (golden / "builds/webdataset/captions/00001.parquet").unlink()
    dataset = Dataset.open(str(golden))
    list(dataset.records(dataset.shards[0]))
    with pytest.raises(DatasetError, match=r"captions/00001.parquet is missing"):
        list(dataset.records(dataset.shards[1]))


def test_a_build_without_images_is_opened(build: Callable[..., Dataset]) -> None:
    dataset = build([])
    assert dataset.samples("all") == 0 and dataset.shards == ()
