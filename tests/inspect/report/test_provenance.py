from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from recaption.inspect.paths import OutputPaths
from recaption.inspect.report.provenance import POINTS, read_rates, read_runs
from recaption.io.store import LocalStore

PASS = {
    "engine": {"engine": "vllm", "engine_version": "0.33", "device": "H100"},
    "generations": {
        "long": {"answers": 40, "retries": 2, "output_tokens": 900, "rejects": {"repetition": 3, "empty_answer": 1}},
        "short": {"answers": 44, "retries": 0, "output_tokens": 90, "rejects": {}},
    },
}


def output(folder: Path, **files: object) -> OutputPaths:
    (folder / "metrics").mkdir()
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / "metrics" / f"{name}.json").write_text(text)
    return OutputPaths(given=str(folder), out=LocalStore(folder), build=None)


def test_every_run_has_a_row(tmp_path: Path) -> None:
    first = {"run": "run-000001", "command": "run", "state": "interrupted", "models": {"qwen": PASS}}
    first |= {"started": "2026-01-02T03:04:05+00:00", "finished": "2026-01-02T04:04:05+00:00", "error": "stopped"}
    second = {"run": "run-000002", "command": "build", "state": "running", "started": "2026-01-03T00:00:00Z"}
    one, two = read_runs(output(tmp_path, **{"run-000001": first, "progress": second | {"captions_per_second": 2.5}}))
    assert (one.answers, one.retries, one.rejects, one.output_tokens) == (84, 2, 4, 990)
    assert (one.state, one.error, one.engines) == ("interrupted", "stopped", ("vllm 0.33 on H100",))
    assert one.started and one.finished and (one.finished - one.started).total_seconds() == 3600
    assert (two.run, two.answers, two.captions_per_second, two.finished) == ("run-000002", None, 2.5, None)


def test_a_runs_own_file_has_priority_over_progress_json(tmp_path: Path) -> None:
    ended = {"run": "run-000001", "state": "done"}
    (run,) = read_runs(output(tmp_path, **{"progress": ended | {"state": "running"}, "run-000001": ended}))
    assert run.state == "done"


@pytest.mark.parametrize(
    "content",
    ['{"run": "r', "[1]", '{"run": 3, "models": [1]}', '{"run": "x", "started": "noon", "captions_per_second": NaN}'],
)
def test_broken_metrics_are_ignored(tmp_path: Path, content: str) -> None:
    found = read_runs(output(tmp_path, a=content, b={"run": "good", "models": {"m": {"generations": {"g": 1}}}}))
    assert "good" in [run.run for run in found]
    assert all(run.captions_per_second is None and run.started is None for run in found)


def test_rates_are_those_of_progress_events(tmp_path: Path) -> None:
    here = output(tmp_path)
    lines = [
        '{"event": "progress", "ts": "2026-01-02T03:04:10Z", "captions_per_second": 4}',
        '{"event": "progress", "ts": "2026-01-02T03:04:05+00:00", "captions_per_second": 2.5, "done": {}}',
        '{"event": "reject", "ts": "2026-01-02T03:04:06Z", "captions_per_second": 9}',
        '{"event": "progress", "captions_per_second": 9}',
        '{"event": "progress", "ts": "2026-01-02T03:04:07Z", "captions_per_second": "fast"}',
        '{"event": "progress", "ts": "2026-01-02T03:04:07Z", "captions_per_second": null}',
        "progress, but no JSON",
        '{"event": "progress", "ts": "2026-01-02T03:0',
    ]
    (tmp_path / "metrics" / "log.jsonl").write_text("\n".join(lines))
    assert [rate.captions_per_second for rate in read_rates(duckdb.connect(), here)] == [2.5, 4.0]


def test_rates_of_several_days_are_averaged(tmp_path: Path) -> None:
    here = output(tmp_path)
    with open(tmp_path / "metrics" / "log.jsonl", "w") as log:
        for second in range(0, 50_000, 5):
            ts = f"2026-01-02T{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}Z"
            log.write(json.dumps({"event": "progress", "ts": ts, "captions_per_second": 10}) + "\n")
    rates = read_rates(duckdb.connect(), here)
    assert POINTS / 2 < len(rates) <= POINTS + 1
    assert {rate.captions_per_second for rate in rates} == {10.0}
    assert [rate.at for rate in rates] == sorted(rate.at for rate in rates)


def test_without_metrics_there_are_no_runs(tmp_path: Path) -> None:
    for out in (LocalStore(tmp_path), None):
        here = OutputPaths(given="x", out=out, build=None)
        assert (read_runs(here), read_rates(duckdb.connect(), here)) == ((), [])
