"""Stored token ids, checked against the texts."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_output import answer_all, build_all, pipeline_data, write_source

from recaption.validate import validate_output


@pytest.mark.parametrize("format", ["sidecar", "webdataset", "parquet"])
def test_token_ids_of_another_shard(tmp_path: Path, format: str) -> None:
    write_source(tmp_path, shards=2, per_shard=3)
    output = {"path": str(tmp_path / "out"), "format": format, "token_ids": ["scene"], "holdout": {"fraction": 0.3}}
    build = build_all(answer_all(pipeline_data(tmp_path, output=output)))
    assert list(validate_output(str(build))) == []
    assert "tokens" not in (build / "views.sql").read_text()  # no table that DuckDB could read
    first, second = sorted((build / "tokens" / "scene").glob("*.bin"))
    first.write_bytes(second.read_bytes()[:-3])
    kinds = {problem.kind for problem in validate_output(str(build))}
    assert "token ids" in kinds and kinds <= {"token ids", "size", "sha256"}
    first.unlink()
    assert {problem.kind for problem in validate_output(str(build))} == {"missing file"}
