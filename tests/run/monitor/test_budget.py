"""GPU hours add up over the runs of an output, killed ones included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recaption.errors import BudgetSpent
from recaption.generate.progress import PassProgress
from recaption.io.store import LocalStore
from recaption.run.monitor.budget import Spend, earlier_gpu_seconds, keep_killed_run


def report(out: Path, name: str, run: str, *seconds: Any) -> None:
    models = {f"m{n}": {"gpu_seconds": value} for n, value in enumerate(seconds)}
    (out / "metrics").mkdir(exist_ok=True)
    (out / "metrics" / f"{name}.json").write_text(json.dumps({"run": run, "models": models}))


def seconds(store: LocalStore) -> float:
    keep_killed_run(store)
    return earlier_gpu_seconds(store)


def test_runs_add_up_and_a_killed_one_is_kept(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert seconds(store) == 0
    report(tmp_path, "run-000001", "run-000001", 100.0, 20)
    report(tmp_path, "progress", "run-000001", 100.0, 20)  # of a run that has ended: its report counts
    assert seconds(store) == 120
    report(tmp_path, "progress", "run-000002", 30.0)  # killed
    assert seconds(store) == 150
    report(tmp_path, "progress", "run-000003", 1.0)  # the next one overwrites its progress
    assert seconds(store) == 151 and (tmp_path / "metrics" / "run-000002.json").exists()


@pytest.mark.parametrize("text", ["[]", "{", '{"run": "../../x", "models": {"m": {"gpu_seconds": 5}}}', '{"run": 7}'])
def test_files_of_others_are_not_trusted(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "progress.json").write_text(text)
    assert seconds(LocalStore(tmp_path)) == 0
    assert [path.name for path in tmp_path.rglob("*.json")] == ["progress.json"]


def test_values_that_are_no_numbers_count_nothing(tmp_path: Path) -> None:
    report(tmp_path, "run-000001", "run-000001", "many", None, 3)
    assert seconds(LocalStore(tmp_path)) == 3


def test_the_limit_counts_earlier_runs_and_all_passes() -> None:
    spend = Spend(1.0, earlier=1800)
    for seconds in (100.0, 900.0):
        spend.update(PassProgress(model="a", gpu_seconds=seconds))
    spend.check()
    spend.update(PassProgress(model="b", gpu_seconds=900.0))
    assert spend.is_over
    with pytest.raises(BudgetSpent, match=r"took 1 GPU hours, and budget\.gpu_hours is 1.*--set budget\.gpu_hours=N"):
        spend.check()
    Spend(None, earlier=1e9).check()


def test_a_run_without_engines_is_not_over_but_may_start_none() -> None:
    spend = Spend(1.0, earlier=3600)
    assert not spend.is_over
    with pytest.raises(BudgetSpent):
        spend.check()
