"""recaption.inspect.similar: `--ask similar` by embeddings, where a build has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from rich.console import Console

from recaption.errors import DatasetError
from recaption.inspect.results import ResultFormat, output_question
from recaption.io.store import LocalStore
from recaption.write.embeddings import write_embeddings

VECTORS = {"a0": (1, 0), "a1": (0.6, 0.8), "b0": (-2, 0), "b1": (30, 40)}


def embed(dataset: Path, vectors: dict[str, Any]) -> Path:
    """Add embeddings, and texts' ones that must not count, to the build of the dataset."""
    build = (dataset / "dataset").resolve()
    manifest = orjson.loads((build / "manifest.json").read_bytes())
    manifest["embeddings"] = ["none", "clip"]
    (build / "manifest.json").write_bytes(orjson.dumps(manifest))
    for letter, shard in zip("ab", manifest["shards"], strict=True):
        own = {key: np.array(v, "<f2").tobytes() for key, v in vectors.items() if key[0] == letter}
        texts = {f"{key}/long/0": np.array((0.6, 0.8), "<f2").tobytes() for key in own}
        write_embeddings(LocalStore(build), f"embeddings/clip/{shard['name']}.npy", {**texts, **own})
        write_embeddings(LocalStore(build), f"embeddings/none/{shard['name']}.npy", {})
    return build


def similar(dataset: Path, key: str, file: Path, limit: int | None = None) -> list[dict[str, Any]]:
    output_question([str(dataset)], ["similar", key], ResultFormat(file=file, limit=limit), Console())
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_the_nearest_images_and_the_objects_that_they_share(dataset: Path, tmp_path: Path) -> None:
    embed(dataset, VECTORS)
    found = similar(dataset, "a1", tmp_path / "x.jsonl")
    assert [(row["key"], row["cosine"], row["objects"]) for row in found] == [
        ("b1", 1.0, ["dog"]),
        ("a0", 0.6, ["dog"]),
        ("b0", -0.6, None),
    ]
    assert len(similar(dataset, "a1", tmp_path / "y.jsonl", limit=1)) == 1


def test_an_image_without_an_embedding_is_compared_by_its_objects(dataset: Path, tmp_path: Path) -> None:
    embed(dataset, {key: vector for key, vector in VECTORS.items() if key != "a1"})
    assert [row["key"] for row in similar(dataset, "a1", tmp_path / "x.jsonl")] == ["b1", "a0"]


def test_a_broken_file_is_an_error(dataset: Path, tmp_path: Path) -> None:
    for file in (embed(dataset, VECTORS) / "embeddings/clip").iterdir():
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DatasetError, match="not a complete file of embeddings"):
        similar(dataset, "a1", tmp_path / "x.jsonl")
