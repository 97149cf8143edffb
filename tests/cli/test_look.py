"""Commands that show an output."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import orjson
import pytest

from recaption.cli import main
from recaption.io.store import open_store

GOLDEN = Path(__file__).parent.parent / "golden" / "output"


def test_inspect_prints_an_overview_or_a_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    shutil.copytree(GOLDEN, out, symlinks=True)
    assert main(["inspect", str(out)]) == 0
    look, _ = capsys.readouterr()
    assert "images in 20" in look
    assert main(["inspect", str(out), "SELECT count(*) AS n FROM images"]) == 0
    answer, _ = capsys.readouterr()
    assert "n\n20" in answer
    assert main(["inspect", str(out), "--ask", "tags", "--limit", "1", "--format", "json"]) == 0
    assert '{"lemma":"chair","images":2,' in capsys.readouterr()[0]
    assert main(["inspect", f"{tmp_path}/o*", "--ask", "similar", "000000012", "--show-sql"]) == 0
    assert "key = '000000012'" in capsys.readouterr()[0]
    shutil.copytree(GOLDEN, tmp_path / "other", symlinks=True)
    assert main(["inspect", str(out), "--diff", str(tmp_path / "other")]) == 0
    assert "15 images in both" in capsys.readouterr()[0]
    assert main(["inspect", str(out), "SELECT nope FROM images"]) == 2


@pytest.mark.parametrize("words", [["SELECT 1 AS n", "--format", "csv"], ["--format", "csv", "SELECT 1 AS n"]])
def test_sql_can_be_before_or_after_options(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "index").mkdir()
    assert main(["inspect", str(tmp_path), *words]) == 0
    assert capsys.readouterr().out.split() == ['"n"', "1"]
    assert main(["inspect", str(tmp_path), *words, "another"]) == 2
    assert "unexpected extra argument" in (wrong := capsys.readouterr().err) and "another" in wrong


@pytest.mark.parametrize("state", ["running", "failed", "interrupted", "done"])
def test_status_succeeds_for_a_failed_run(state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = {"run": "run-000001", "command": "run", "state": state, "error": "boom", "models": {}}
    open_store(str(tmp_path)).put("metrics/progress.json", orjson.dumps(report))
    assert main(["status", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert state in out and err == "" and "\x1b" not in out, "plain lines where there is no terminal"
    assert main(["status", str(tmp_path), "--json"]) == 0
    data = json.loads(capsys.readouterr()[0])
    assert {key: data[key] for key in report} == report and data["judged"]["state"] == state


def test_status_does_not_watch_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    open_store(str(tmp_path)).put("metrics/progress.json", orjson.dumps({"run": "run-000001", "state": "done"}))
    assert main(["status", str(tmp_path), "--watch"]) == 2
    assert "needs a terminal" in capsys.readouterr()[1]
