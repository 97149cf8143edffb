"""The shipped pipeline `verify-demo`, as it is printed, with the real engines."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recaption.cli import main

IMAGES = 8


@pytest.mark.systems
@pytest.mark.filterwarnings("default")  # vLLM and what it imports warn at will
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def test_sentences_are_verified_and_scored(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if engine == "vllm":
        pytest.importorskip("vllm")
    monkeypatch.chdir(tmp_path)
    options = ["--limit", str(IMAGES), "--set", f"models.scene.engine={engine}"]
    assert main(["run", "verify-demo", *options, "--quiet"]) == 0
    build = tmp_path / "out" / "verify-demo" / "dataset"
    check, similar = json.loads((build / "manifest.json").read_text())["tasks"]
    assert (check["id"], similar["id"]) == ("check", "similar")
    assert check["asked"] == check["answered"] > 3 * IMAGES
    rows = pq.read_table(build / "verifications").to_pylist()
    supported = sum(row["p_true"] > 0.5 for row in rows)
    assert len(rows) == check["asked"] and supported > 0.85 * len(rows), "most of what the captioner says is true"
    assert all(0 < row["likelihood"] <= 1 and row["coverage"] > 0.5 for row in rows)
    assert pq.read_table(build / "scores").num_rows == similar["answered"]
    capsys.readouterr()
    assert main(["validate", "out/verify-demo"]) == 0
    assert main(["inspect", "out/verify-demo", "--ask", "support"]) == 0
    assert "unsupported" in capsys.readouterr().out
    assert main(["run", "verify-demo", *options, "--quiet"]) == 0
    assert json.loads((build / "manifest.json").read_text())["tasks"] == [check, similar], "nothing is asked again"
