"""What a run keeps of itself while it goes: progress.json, its report, and the events in its log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recaption.errors import EngineDead, Interrupted
from recaption.generate.progress import GenerationProgress, PassProgress
from recaption.io.store import open_store
from recaption.run.monitor import metrics
from recaption.run.monitor.metrics import RunLog
from recaption.scrub import Scrubber


def at_work(answers: int = 10, **changes: Any) -> PassProgress:
    long = GenerationProgress(total=100, resumed=40, answers=answers, rejects={"refusal": 2}, retries=3)
    given = {"model": "qwen", "phase": "generating", "generations": {"long": long}, "in_flight": 7, "seconds": 10.0}
    return PassProgress(**given | changes)


def events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics" / "log.jsonl").read_bytes().splitlines()]


def log_of(out: Path) -> RunLog:
    return RunLog(open_store(str(out)), 2, "run", 50, Scrubber({}))


def test_a_run_writes_its_start_progress_and_end(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.start("my-captions")
    log.generating(at_work())
    log.generating(at_work(11))
    log.generating(at_work(12, phase="done"))
    for done in (0, 1, 1, 2):
        log.building(done, 2)
    log.emit("built", build="abc", changed=True)
    log.warn("few shards")
    log.end(None)
    found = events(tmp_path)
    assert [line["event"] for line in found] == [
        *("run_started", "progress", "progress", "building", "building", "built", "warning", "run_ended")
    ], "changes of phase and the end have an event at once, other progress every few seconds"
    assert [line["done"] for line in found if line["event"] == "building"] == [0, 2]
    assert {line["run"] for line in found} == {"run-000002"}
    assert (found[0]["pipeline"], found[0]["command"], found[0]["limit"]) == ("my-captions", "run", 50)
    progress = found[1]
    assert progress["captions_per_second"] == pytest.approx(1.0, rel=0.1) and progress["in_flight"] == 7
    assert progress["generations"] == {
        "long": {"done": 52, "total": 100, "resumed": 40, "duplicates": 0, "answers": 10, "retries": 3, "rejects": 2}
    }
    assert progress["seconds_left"] == pytest.approx(48 * 10 / 12, rel=0.1), "what was there before is no speed"
    assert found[2]["generations"]["long"]["done"] == 54, "counted, also when the pass is done"
    assert (found[-1]["state"], found[-1]["level"], found[-1]["error"]) == ("done", "info", None)
    report = json.loads((tmp_path / "metrics" / "run-000002.json").read_bytes())
    assert report["warnings"] == ["few shards"]
    assert (report["shards_built"], report["shards_to_build"]) == (2, 2) and report["build_seconds"] < 60


def test_progress_is_written_every_few_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "PERIOD", -1.0)
    log = log_of(tmp_path)
    for answers in (1, 2, 3):
        log.generating(at_work(answers))
    log.end(None)
    assert [line["event"] for line in events(tmp_path)] == ["progress"] * 3 + ["run_ended"]


@pytest.mark.parametrize(
    ("error", "state", "level"),
    [
        (EngineDead("the server refuses the key sk-abcdefgh12345678"), "failed", "error"),
        (Interrupted("stopped on request"), "interrupted", "warning"),
        (KeyboardInterrupt(), "interrupted", "warning"),
    ],
)
def test_the_error_of_a_run_is_written_without_secrets(
    tmp_path: Path, error: BaseException, state: str, level: str
) -> None:
    log = log_of(tmp_path)
    log.end(error)
    (line,) = events(tmp_path)
    assert (line["state"], line["level"]) == (state, level) and line["error"]
    for name in ("log.jsonl", "progress.json", "run-000002.json"):
        assert b"abcdefgh12345678" not in (tmp_path / "metrics" / name).read_bytes()
