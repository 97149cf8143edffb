"""What a run keeps of itself while it goes: progress.json, its report, and the events in its log."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from recaption.errors import EngineDead, Interrupted
from recaption.generate.counters import Counters
from recaption.generate.progress import Pace, Progress
from recaption.io.store import open_store
from recaption.run import metrics
from recaption.run.metrics import RunLog
from recaption.scrub import Scrubber


def at_work(answers: int = 10, **changes: Any) -> Progress:
    counters = Counters(
        answers=Counter(long=answers), rejects=Counter({("long", "refusal"): 2}), retries=Counter(long=3)
    )
    given: dict[str, Any] = {
        "model": "qwen",
        "phase": "generating",
        "total": {"long": 100},
        "resumed": {"long": 40},
        "counters": counters,
        "in_flight": 7,
        "all_listed": True,
        "started": time.monotonic() - 10,
    }
    return Progress(**given | changes)


def events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics" / "log.jsonl").read_bytes().splitlines()]


def log_of(out: Path) -> RunLog:
    return RunLog(open_store(str(out)), 2, "run", 50, Scrubber({}))


def test_a_run_tells_its_beginning_its_progress_and_its_end(tmp_path: Path) -> None:
    log = log_of(tmp_path)
    log.start("my-captions")
    log.generating(at_work())
    log.generating(at_work(11))
    log.generating(at_work(12, phase="done"))
    for done in (0, 1, 1, 2):
        log.building(done, 2)
    log.tell("built", build="abc", changed=True)
    log.warn("few shards")
    log.end(None)
    found = events(tmp_path)
    assert [line["event"] for line in found] == [
        *("run_started", "progress", "progress", "building", "building", "building", "built", "warning", "run_ended")
    ], "a change of phase is told at once, the rest every few seconds"
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
    assert json.loads((tmp_path / "metrics" / "run-000002.json").read_bytes())["warnings"] == ["few shards"]


def test_progress_is_told_again_after_some_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "EVERY", -1.0)
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
def test_how_it_ended_is_told_without_secrets(tmp_path: Path, error: BaseException, state: str, level: str) -> None:
    log = log_of(tmp_path)
    log.end(error)
    (line,) = events(tmp_path)
    assert (line["state"], line["level"]) == (state, level) and line["error"]
    for name in ("log.jsonl", "progress.json", "run-000002.json"):
        assert b"abcdefgh12345678" not in (tmp_path / "metrics" / name).read_bytes()


def test_the_pace_is_of_the_time_since_one_looked_last() -> None:
    pace, now = Pace(), time.monotonic()

    def looked(answers: int, seconds: float, model: str = "qwen") -> float | None:
        return pace.since_last(at_work(answers, model=model, started=now - seconds, ended=now))

    assert looked(0, 5.0) is None
    assert looked(50, 10.0) == pytest.approx(10.0)
    assert looked(50, 15.0) == 0.0
    assert looked(50, 15.0) is None, "no time has passed"
    assert looked(30, 10.0, model="another") == pytest.approx(3.0)
