"""Finding the data to load."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from loading import Built, opened, raw_text, two_texts
from samples import jpeg, sample, write_tar

from recaption.errors import DatasetError, UserError
from recaption.load import CaptionDataset


def test_manifests(own_copy: Built) -> None:
    out = own_copy("webdataset")
    path = out / "dataset" / "manifest.json"
    manifest = json.loads(path.read_text())
    for change, why in (
        ({"schema_version": "2.0"}, "schema version 2.0; this version of recaption reads 1"),
        ({"format": "zip"}, "format 'zip'"),
        ({"shards": [{}]}, "not a manifest: KeyError"),
    ):
        path.write_text(json.dumps({**manifest, **change}))
        with pytest.raises(DatasetError, match=why):
            opened(out)
    path.write_text("{")
    with pytest.raises(DatasetError, match="not a manifest"):
        opened(out)


def test_nothing_there(tmp_path: Path, built: Built) -> None:
    for path in (tmp_path, tmp_path / "none", "memory://none"):
        with pytest.raises(UserError, match=r"nothing to load|neither a \.tar nor a folder"):
            opened(path)
    with pytest.raises(UserError, match="cannot be read"):
        opened(str(tmp_path / "{0..1}.tar"))
    with pytest.raises(UserError, match="nothing to load"):
        CaptionDataset([], policy=two_texts, batch_size=1)


def test_where_a_build_is_found(built: Built) -> None:
    out = built("webdataset")
    prints = {
        CaptionDataset(path, policy=two_texts, batch_size=2).fingerprint
        for path in (out, out / "dataset", out / "builds" / "b", f"file://{out}")
    }
    assert len(prints) == 1


@pytest.mark.parametrize("format", ["webdataset", "sidecar", "parquet"])
def test_behind_a_url(built: Built, format: str) -> None:
    """An fsspec file system without links: CURRENT says which build is published."""
    import fsspec

    out = built(format)
    remote = fsspec.filesystem("memory")
    remote.put(str(out / "builds"), f"/{format}/builds", recursive=True)
    remote.put(str(out / "index"), f"/{format}/index", recursive=True)
    remote.put(str(out.parent / "source"), f"/{format}/source", recursive=True)
    remote.pipe_file(f"/{format}/CURRENT", b"builds/b\n")
    options: dict[str, Any] = {"policy": two_texts, "batch_size": 4, "strings": True}
    for lanes in (0, 1):
        there = CaptionDataset(f"memory://{format}", source=f"memory://{format}/source", lanes=lanes, **options)
        here = CaptionDataset(out, lanes=lanes, **options)
        assert there.fingerprint == here.fingerprint
        assert there.batch(9)["strings"] == here.batch(9)["strings"]
        assert torch.equal(there.batch(9)["images"], here.batch(9)["images"])
    assert CaptionDataset(f"memory://{format}", **options).state_dict()["lanes"] == 1
    assert CaptionDataset(out, **options).state_dict()["lanes"] == 0


@pytest.mark.parametrize("name", ["00000.tar.gz", "00000.tgz", "00000.TAR.GZ", "00000.tar.zst"])
@pytest.mark.parametrize("given", ["file", "folder", "pattern"])
def test_a_compressed_tar_is_refused_by_its_name(name: str, given: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    write_tar(tmp_path / "00001.tar", [sample("a", jpeg(1))])
    path = {"file": tmp_path / name, "folder": tmp_path, "pattern": tmp_path / "*"}[given]
    with pytest.raises(UserError, match=r"compressed tars are not supported.*gunzip"):
        CaptionDataset(str(path), policy=raw_text, batch_size=1)


def test_a_compressed_tar_beside_its_plain_one_is_left_out(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [sample("a", jpeg(1))])
    (tmp_path / "0.tar.gz").write_bytes(gzip.compress((tmp_path / "0.tar").read_bytes()))
    assert CaptionDataset(tmp_path, policy=raw_text, batch_size=1).steps.samples == 1
