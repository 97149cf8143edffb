"""`--ask near-duplicates`: images that look alike, and the list that excludes them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console
from written_build import write_build

from recaption.demo.scenes import render, sample_scene
from recaption.errors import UserError
from recaption.inspect.near_duplicates import pixel_hash
from recaption.inspect.results import ResultFormat, output_question
from recaption.io.store import LocalStore
from recaption.source.excluded import read_excluded
from recaption.write.embeddings import write_embeddings

SCENES = 30


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "JPEG", quality=quality)
    return sink.getvalue()


def picture(n: int) -> bytes:
    """Scenes, then variants of the first five: compressed, smaller, lighter, cropped, and equal bytes."""
    scene = render(sample_scene(n if n < SCENES else n - SCENES), 128)
    variants = {
        SCENES: lambda: jpeg(scene, 40),
        SCENES + 1: lambda: jpeg(scene.resize((100, 100))),
        SCENES + 2: lambda: jpeg(scene.point(lambda value: min(255, value + 6))),
        SCENES + 3: lambda: jpeg(scene.crop((1, 1, 127, 127))),
    }
    return variants.get(n, lambda: jpeg(scene))()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    write_build(tmp_path / "out", [{"raw": "a", "long": "A thing."}] * (SCENES + 5), picture=picture, per_shard=20)
    return tmp_path / "out"


def asked(out: Path, file: Path) -> dict[str, tuple[str, str]]:
    output_question([str(out)], ["near-duplicates"], ResultFormat(file=file), Console())
    rows = pq.read_table(file).to_pylist()
    return {row["key"]: (row["same_as"], row["sha256"]) for row in rows}


def test_variants_of_an_image_are_found_by_their_pixels_and_excluded(out: Path, tmp_path: Path) -> None:
    found = asked(out, tmp_path / "near.parquet")
    expected = {f"k{SCENES + n:04d}": f"k{n:04d}" for n in range(4)}
    assert {key: same for key, (same, _) in found.items()} == expected
    assert read_excluded(str(tmp_path / "near.parquet")) == {sha256 for _, sha256 in found.values()}


def test_embeddings_count_where_all_images_have_one(out: Path, tmp_path: Path) -> None:
    build = (out / "dataset").resolve()
    manifest = orjson.loads((build / "manifest.json").read_bytes())
    manifest["embeddings"] = ["clip"]
    (build / "manifest.json").write_bytes(orjson.dumps(manifest))
    vectors = np.random.default_rng(0).standard_normal((SCENES + 5, 16))
    vectors[9] = vectors[4] + 0.05
    for number, shard in enumerate(manifest["shards"]):
        rows = range(20 * number, min(20 * number + 20, len(vectors)))
        stored = {f"k{n:04d}": vectors[n].astype("<f2").tobytes() for n in rows}
        write_embeddings(LocalStore(build), f"embeddings/clip/{shard['name']}.npy", stored)
    assert {key: same for key, (same, _) in asked(out, tmp_path / "near.parquet").items()} == {"k0009": "k0004"}


def test_images_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    write_build(tmp_path / "side", [{"raw": "a", "long": "b"}] * 2, format="sidecar")
    with pytest.raises(UserError, match=r"no image of .* can be read from here"):
        asked(tmp_path / "side", tmp_path / "near.parquet")


def test_a_hash_hardly_depends_on_size_and_compression() -> None:
    for seed in range(20):
        image = render(sample_scene(seed), 256)
        again = Image.open(io.BytesIO(jpeg(image.resize((160, 160)), 60)))
        hashes = [pixel_hash(one) for one in (image, again)]
        bits = sum((a ^ b).bit_count() for a, b in zip(hashes[0][:2], hashes[1][:2], strict=True))
        assert bits <= 8


def test_the_answer_on_a_terminal(out: Path, tmp_path: Path) -> None:
    output_question([str(out)], ["near-duplicates"], ResultFormat(file=tmp_path / "x.jsonl"), Console())
    first = json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0])
    assert list(first) == ["key", "same_as", "similarity", "sha256"] and 0.9 < first["similarity"] <= 1
