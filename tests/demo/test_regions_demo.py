"""The shipped pipeline `regions-demo`, as it is printed, with the real engine."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recaption.cli import main

IMAGES = 4


@pytest.mark.systems
@pytest.mark.filterwarnings("default")  # what the engine imports warns at will
@pytest.mark.timeout(600)
def test_boxes_and_negatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "regions-demo", "--limit", str(IMAGES), "--quiet"]) == 0
    build = tmp_path / "out" / "regions-demo" / "dataset"
    boxes, hard = json.loads((build / "manifest.json").read_text())["tasks"]
    assert (boxes["id"], hard["id"]) == ("boxes", "hard")
    for task in (boxes, hard):
        assert task["asked"] == task["answered"] + task["rejected"] > 0
    assert boxes["answered"] == boxes["asked"] == IMAGES, "one question about each image, with all phrases"
    regions = pq.read_table(build / "regions").to_pylist()
    assert len(regions) > IMAGES and all(0 <= row["x0"] < row["x1"] <= 1 for row in regions)
    assert pq.read_table(build / "negatives").num_rows == 10 * hard["answered"]
    assert main(["validate", "out/regions-demo"]) == 0
