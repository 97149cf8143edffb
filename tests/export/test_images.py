"""The images of a build, with those of a sidecar read from its source."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from exported_images import with_images

from recaption.cli import main
from recaption.errors import DatasetError, ShardError, UserError
from recaption.export.dataset import Dataset
from recaption.export.images import first_member
from recaption.validate import validate_output
from recaption.write.webdataset import pieces

FORMATS = ("webdataset", "parquet", "sidecar")


@pytest.mark.parametrize("split", ["train", "all"])
def test_all_formats_have_the_same_images(golden: Path, split: Any) -> None:
    found = {}
    for format in FORMATS:
        dataset = Dataset.open(str(golden / "builds" / format))
        rows = [pair for shard in dataset.shards for pair in with_images(dataset, shard, split)]
        assert all(stored is not None and stored.suffix == "jpg" for _, stored in rows)
        found[format] = [(r.key, hashlib.sha256(p.data).hexdigest()) for r, p in rows if p]
        untouched = [(r, p) for r, p in rows if p and hashlib.sha256(p.data).hexdigest() == r.sha256]
        assert 0 < len(untouched) < len(rows), "JPEGs are unchanged, PNGs and WebPs are converted"
    assert found["webdataset"] == found["parquet"] == found["sidecar"]
    assert len(found["sidecar"]) == (13 if split == "train" else 16)


def test_an_image_that_changed_in_the_source_is_none(golden: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(str(golden / "builds/sidecar"))
    tar = tmp_path / "source" / "00000.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1  # within the first image
    tar.write_bytes(data)
    rows = list(with_images(dataset, dataset.shards[0], "all"))
    assert [record.row for record, stored in rows if stored is None] == [0]


def test_a_sidecar_without_its_output_is_a_dataset_error(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden / "builds/sidecar", tmp_path / "copy")
    dataset = Dataset.open(str(tmp_path / "copy"))
    assert len(list(dataset.records(dataset.shards[0]))) == 6
    with pytest.raises(DatasetError, match="copied from its output"):
        list(with_images(dataset, dataset.shards[0]))


def test_a_sidecar_without_its_pipeline_is_a_dataset_error(golden: Path) -> None:
    (golden / "pipeline.yaml").unlink()
    dataset = Dataset.open(str(golden / "builds/sidecar"))
    with pytest.raises(DatasetError, match="does not name a readable source"):
        list(with_images(dataset, dataset.shards[0]))


@pytest.fixture
def host() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server without files, and the paths of its requests."""
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
    """Change the index of a shard: its images are in a tar below `folder`."""
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
        list(with_images(dataset, dataset.shards[0]))
    stored.write_text(yaml.safe_dump(before))
    index_elsewhere(golden, "00000", url)
    with pytest.raises(UserError, match=rf"(?s)index: {url}/00000\.tar.*--pipeline FILE"):
        list(with_images(dataset, dataset.shards[0]))
    assert [p.kind for p in validate_output(str(golden / "builds/sidecar"))].count("no source") == 1
    assert requested == []


def test_a_preset_of_the_users_pipeline_is_applied(golden: Path, host: tuple[str, list[str]], tmp_path: Path) -> None:
    url, requested = host
    own = tmp_path / "own.yaml"
    data = yaml.safe_load((golden / "pipeline.yaml").read_text())
    own.write_text(yaml.safe_dump(data | {"presets": {"remote": {"source.path": f"{url}/{{00000..00001}}.tar"}}}))
    index_elsewhere(golden, "00000", url)
    build = str(golden / "builds/sidecar")
    with pytest.raises(UserError, match="on other hosts"):
        list(with_images(Dataset.open(build, own), Dataset.open(build).shards[0]))
    assert requested == []
    dataset = Dataset.open(build, own, "remote")
    with pytest.raises(ShardError):
        list(with_images(dataset, dataset.shards[0]))
    assert set(requested) == {"/00000.tar"}
    command = ["export", build, str(tmp_path / "dest"), "--to", "flair"]
    assert main([*command, "--preset", "remote"]) == 2  # the file is missing
    assert main([*command, "--pipeline", str(own), "--preset", "none"]) == 2


def test_a_host_in_the_users_pipeline_is_read(golden: Path, tmp_path: Path, host: tuple[str, list[str]]) -> None:
    url, requested = host
    own = tmp_path / "own.yaml"
    data = yaml.safe_load((golden / "pipeline.yaml").read_text())
    own.write_text(yaml.safe_dump(data | {"source": {"path": f"{url}/{{00000..00001}}.tar"}}))
    index_elsewhere(golden, "00000", url)
    dataset = Dataset.open(str(golden / "builds/sidecar"), own)
    with pytest.raises(ShardError):
        list(with_images(dataset, dataset.shards[0]))
    assert set(requested) == {"/00000.tar"}, "so the test above would notice requests"
    requested.clear()
    index_elsewhere(golden, "00000", "http://localhost:1")  # a host that own.yaml does not name
    with pytest.raises(UserError, match="index: http://localhost:1/00000"):
        list(with_images(dataset, dataset.shards[0]))


def test_a_tar_of_another_build_is_a_dataset_error(golden: Path) -> None:
    data = golden / "builds/webdataset/data"
    for suffix in ("tar", "tar.idx"):
        shutil.copy(data / f"00001.{suffix}", data / f"00000.{suffix}")
    dataset = Dataset.open(str(golden))
    with pytest.raises(DatasetError, match=r"has 000000012 here"):
        list(with_images(dataset, dataset.shards[0]))


@pytest.mark.parametrize("key", ["a", "k" * 128])  # a long name has a header in pax form
def test_the_first_member_is_found_from_the_header_of_a_sample(key: str) -> None:
    sample = b"".join(pieces(key, [("jpg", b"image"), ("txt", b"text")]))
    file = io.BytesIO(b"\0" * 512 + sample + sample)
    file.seek(512)
    name, offset, size = first_member(file, len(sample), "x.tar", "00000")
    assert (name, sample[offset : offset + size]) == (f"{key}.jpg", b"image")
    with pytest.raises(DatasetError, match="does not agree with its index"):
        first_member(io.BytesIO(bytes(1024)), 1024, "x.tar", "00000")


def test_a_file_that_returns_fewer_bytes_than_it_is_asked_for_is_read_to_the_end() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 100))

    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        member = tarfile.TarInfo("a.jpg")
        member.size = 700
        tar.addfile(member, io.BytesIO(bytes(700)))
    assert first_member(Slow(sink.getvalue()), len(sink.getvalue()), "x.tar", "00000") == ("a.jpg", 512, 700)
