"""`recaption doctor` as a whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from recaption.cli import main
from recaption.doctor import diagnose, exit_code


def test_a_correct_pipeline_has_no_errors_and_a_missing_source_is_one(
    make_source: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p.yaml"
    source = f"{make_source(shards=1, per_shard=2)}/*.tar"
    file.write_text(
        json.dumps(
            {
                "name": "p",
                "source": {"path": source},
                "models": {"m": {"engine": "column"}},
                "generate": [{"id": "long", "model": "m", "column": "title"}],
                "annotate": {"splitter": "flair_regex"},
                "output": {"path": str(tmp_path / "out")},
            }
        )
    )
    assert main(["doctor", str(file), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    names = {check["name"]: check["status"] for check in data["checks"]}
    for name in ("pipeline", "python", "source", "prompts", "model m", "output", "build", "gpu"):
        assert names[name] == "ok", data
    assert not (tmp_path / "out").exists() and data["exit_code"] == 0
    assert main(["doctor", str(file), "--set", "source.path=/nowhere/*.tar"]) == 2
    printed = capsys.readouterr().out
    assert "error    source" in printed and "-> correct source.path, in the file or with --set source.path=…" in printed


def test_the_machine_is_checked_although_the_pipeline_does_not_exist() -> None:
    findings = diagnose("nope")
    assert findings[0].name == "pipeline" and "pipeline 'nope' not found" in findings[0].found
    assert {finding.name for finding in findings} >= {"python", "disk", "open files"}
    assert exit_code(findings) == 2
