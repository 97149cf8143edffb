"""Finished runs are kept on disk, one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recaption.errors import UserError
from recaption.probe.runs import Run, Runs


def run(arm: str, seed: int) -> Run:
    return Run(arm=arm, seed=seed, loss=0.5, seconds=2.0, outcomes=np.array([0.1, -0.2], np.float32))


def test_runs_are_read_again(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.parquet", "x")
    runs.add(run("a", 0))
    runs.add(run("a", 1))
    again = Runs(tmp_path / "runs.parquet", "x")
    found = again.get("a", 1)
    assert found is not None and (found.seconds, found.outcomes.tolist()) == (2.0, run("a", 1).outcomes.tolist())
    assert again.get("b", 0) is None
    assert [path.name for path in tmp_path.iterdir()] == ["runs.parquet"]


def test_runs_of_other_settings_are_refused(tmp_path: Path) -> None:
    Runs(tmp_path / "runs.parquet", "x").add(run("a", 0))
    with pytest.raises(UserError, match=r"has runs with other captions, queries or settings\. Give another --out"):
        Runs(tmp_path / "runs.parquet", "y")


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs.parquet").write_text("no")
    with pytest.raises(UserError, match=r"runs\.parquet cannot be read: .* Delete it"):
        Runs(tmp_path / "runs.parquet", "x")
