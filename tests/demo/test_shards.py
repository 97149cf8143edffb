"""Demo shards: what img2dataset would have written, byte for byte the same each time."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest
from PIL import Image

from recaption.demo.described import description
from recaption.demo.scenes import render, sample_scene
from recaption.demo.shards import ensure_scenes, make_sample, write_shards


def test_a_shard_has_its_samples(tmp_path):
    tars = write_shards(tmp_path, n=5, per_shard=3, size=64)
    assert [t.name for t in tars] == ["00000.tar", "00001.tar"]
    with tarfile.open(tars[1]) as tar:
        names = tar.getnames()
        files = {m.name: tar.extractfile(m).read() for m in tar.getmembers()}
    assert names == [f"{key}.{suffix}" for key in ("000010000", "000010001") for suffix in ("jpg", "json", "txt")]
    meta = json.loads(files["000010001.json"])
    assert meta["key"] == "000010001"
    assert meta["status"] == "success"
    assert meta["sha256"] == hashlib.sha256(files["000010001.jpg"]).hexdigest()
    assert meta["caption"] == files["000010001.txt"].decode()
    image = Image.open(io.BytesIO(files["000010001.jpg"]))
    assert image.size == (meta["width"], meta["height"]) == (64, 64)


def test_the_scene_can_be_rendered_again_from_its_seed(tmp_path):
    (tar_path,) = write_shards(tmp_path, n=1, size=64)
    with tarfile.open(tar_path) as tar:
        meta = json.load(tar.extractfile("000000000.json"))
        jpeg = tar.extractfile("000000000.jpg").read()
    again = io.BytesIO()
    render(sample_scene(meta["scene_seed"]), 64).save(again, "JPEG", quality=90)
    assert again.getvalue() == jpeg


def test_equal_arguments_give_equal_bytes(tmp_path):
    for folder in ("a", "b"):
        write_shards(tmp_path / folder, n=3, per_shard=2, size=48)
    write_shards(tmp_path / "c", n=3, per_shard=2, size=48, seed=1)
    a, b, c = ({p.name: p.read_bytes() for p in sorted((tmp_path / f).iterdir())} for f in ("a", "b", "c"))
    assert a == b
    assert a["00000.tar"] != c["00000.tar"]
    assert not [name for name in a if name.startswith(".")]


def test_tables_and_statistics_are_those_of_img2dataset(tmp_path):
    pq = pytest.importorskip("pyarrow.parquet")
    write_shards(tmp_path, n=3, per_shard=2, size=48)
    rows = pq.read_table(tmp_path / "00001.parquet").to_pylist()
    assert [r["key"] for r in rows] == ["000010000"]
    assert json.loads((tmp_path / "00001_stats.json").read_text())["successes"] == 1


def test_invalid_counts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="n must be at least 1"):
        write_shards(tmp_path, n=0)


def test_described_scenes_have_facts_as_columns(tmp_path):
    (tar_path,) = write_shards(tmp_path, n=2, size=48, described=True)
    plain = make_sample(700_000_000, "000000000", 48).meta
    with tarfile.open(tar_path) as tar:
        meta = json.load(tar.extractfile("000000000.json"))
    scene = sample_scene(meta["scene_seed"])
    assert {name: meta.pop(name) for name in ("description", "class_name", "names", "texts")} == {
        "description": description(scene),
        "class_name": scene.objects[0].shape,
        "names": [item.name for item in scene.objects],
        "texts": [],
    }
    assert meta == plain, "the other columns are those of all scenes"
    assert all(item.name in description(scene) for item in scene.objects)


def test_a_list_of_classes_is_written_once(tmp_path):
    path = tmp_path / "demo-classes" / "shapes.txt"
    ensure_scenes(str(path))
    assert path.read_text().split() == ["circle", "square", "triangle", "diamond", "star", "heart"]
    path.write_text("mine")
    ensure_scenes(str(path))
    assert path.read_text() == "mine"
