"""Regions by a real detector (tiny, random), captions of them, and their verification, through Ray to a build."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tiny_models import make_tiny_detector

from recaption import config
from recaption.load.record import record_of
from recaption.progress import Display
from recaption.run import run
from recaption.validate import validate_output

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.usefixtures("ray_session")


def pipeline_data(source: Path, out: Path, detector: Path, **regions: Any) -> dict[str, Any]:
    return {
        "name": "test",
        "source": {"path": f"{source}/*.tar"},
        "models": {
            "owlv2": {"engine": "detector", "model": str(detector), "engine_args": {"threads": 1, "device": "cpu"}},
            "fake": {"engine": "fake_engine:FakeEngine", "model": "scene"},
        },
        "generate": [
            {"id": "long", "model": "fake", "prompt": "describe_long"},
            {"id": "boxes", "model": "owlv2", "task": "regions", "over": "long", "format": "detector", **regions},
            {"id": "crops", "model": "fake", "task": "crop", "over": "boxes", "most": 2},
            {"id": "check", "model": "fake", "task": "verify", "over": "crops"},
        ],
        "output": {"path": str(out), "format": "webdataset"},
    }


def run_pipeline(data: dict[str, Any]) -> Any:
    with Display() as display:
        return run(config.validate(data), None, display)


def rows(out: Path, table: str) -> list[dict[str, Any]]:
    return [
        row for path in sorted((out / "dataset" / table).glob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def records(out: Path) -> list[Any]:
    """As a trainer reads them: from the `.json` members."""
    made = []
    for path in sorted((out / "dataset/data").rglob("*.tar")):
        with tarfile.open(path) as tar:
            members = [(member, tar.extractfile(member)) for member in tar if member.name.endswith(".json")]
            made += [record_of(json.loads(file.read())) for _, file in members if file is not None]
    return made


def test_regions_of_a_detector_are_captioned_and_verified(make_source: Callable[..., Path], tmp_path: Path) -> None:
    detector = make_tiny_detector(tmp_path / "owlv2", "Owlv2")
    source, out = make_source(shards=1, per_shard=3), tmp_path / "out"
    data = pipeline_data(source, out, detector, threshold=0.05, text_threshold=0.05, most=2)
    outcome = run_pipeline(data)
    assert outcome.warnings == () and list(validate_output(str(out))) == []

    regions = {row["region_id"]: row for row in rows(out, "regions")}
    assert len(regions) > 3 and {row["phrase"] for row in regions.values()} <= {"cup", "table"}
    for region in regions.values():
        assert 0 <= region["x0"] < region["x1"] <= 1 and 0 <= region["y0"] < region["y1"] <= 1
        assert 0.05 <= region["score"] <= 1 and region["sub_id"].startswith(f"{region['key']}/long/0#")
    by_image: dict[str, list[float]] = {}
    for region in sorted(regions.values(), key=lambda row: row["rank"]):
        by_image.setdefault(region["key"], []).append(region["score"])
    assert all(scores == sorted(scores, reverse=True) for scores in by_image.values())

    captions = {row["caption_id"]: row for row in rows(out, "captions")}
    of_regions = [row for row in captions.values() if row["generation"] == "crops"]
    assert len(of_regions) == sum(min(2, len(scores)) for scores in by_image.values())
    for caption in of_regions:
        region, (x0, y0, x1, y1) = regions[caption["region_id"]], caption["box"]
        assert caption["granularity"] == "region" and caption["key"] == region["key"] and region["rank"] < 2
        assert x0 <= region["x0"] < region["x1"] <= x1 and y0 <= region["y0"] < region["y1"] <= y1
    assert all(row["region_id"] is row["box"] is None for row in captions.values() if row["generation"] != "crops")
    assert {row["sub_id"].split("#")[0] for row in rows(out, "verifications")} == {c["caption_id"] for c in of_regions}
    nested = {c.caption_id: c for record in records(out) for c in record.captions}
    assert all(nested[c["caption_id"]].box == tuple(c["box"]) for c in of_regions)

    counts = json.loads((out / "dataset/manifest.json").read_text())["tasks"][0]["counts"]
    assert counts["boxes"] >= len(regions) and counts["boxes_beyond"] == 0
    data["generate"][1]["threshold"] = 1.0  # thresholds apply at build: no request is sent again
    assert run_pipeline(data).answered == 0 and len(rows(out, "regions")) < len(regions)
