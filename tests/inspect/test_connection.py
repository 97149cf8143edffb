"""Connections over outputs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from recaption.inspect import connect
from recaption.inspect.connection import open_outputs
from recaption.inspect.paths import find
from recaption.inspect.views import VIEWS

from .conftest import COUNTS, count, write_build, write_run


def test_relative_paths_and_a_build_copied_elsewhere(dataset: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (dataset / "dataset").resolve().rename(tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    with connect("copy") as connection:
        expected = COUNTS | {"answers": 0, "runs": 0}
        assert {view: count(connection, view) for view in VIEWS} == expected


LITTLE_MEMORY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from recaption.cli import main
for command in sys.stdin.read().splitlines():
    assert main(command.split("\t")) == 0, command
"""


def test_a_hundred_small_outputs_in_two_gib(tmp_path: Path) -> None:
    first = tmp_path / "out" / "000"
    first.mkdir(parents=True)
    write_run(first)
    write_build(first)
    for number in range(1, 100):
        shutil.copytree(first, first.with_name(f"{number:03}"), symlinks=True)
    for number in range(300):  # runs that were stopped and started again
        (first / "metrics" / f"m{number}.json").write_text(f'{{"run": "m{number}", "command": "run"}}')
    every = str(tmp_path / "out" / "*")
    counted = ", ".join(f"(SELECT count(*) FROM {view})" for view in VIEWS)
    commands = [["inspect", every, f"SELECT {counted}"], ["inspect", every]]
    commands += [["inspect", str(first), "--diff", f"{tmp_path}/out/001"]]
    commands += [["report", str(first), "-o", str(tmp_path / "report.html")]]
    told = "\n".join(map("\t".join, commands))
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY], input=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    counts = list(map(int, done.stdout.splitlines()[1].split("\t")))
    assert counts == [100 * COUNTS[view] + (300 if view == "runs" else 0) for view in VIEWS]


def test_no_progress_bar_between_the_rows(dataset: Path) -> None:
    with connect(str(dataset)) as connection:
        assert connection.execute("SELECT current_setting('enable_progress_bar')").fetchall() == [(False,)]


def test_importing_recaption_imports_no_duckdb() -> None:
    code = "import sys, recaption; sys.exit('duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    code = "import sys, recaption.inspect, json; print(json.dumps(sorted(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not {"torch", "ray", "vllm", "spacy", "duckdb"} & set(json.loads(out))


def test_limits_are_settings_that_statements_cannot_change(dataset: Path) -> None:
    with open_outputs(find(str(dataset)), limits={"memory_limit": "100MiB"}) as connection:
        assert connection.execute("SELECT current_setting('memory_limit')").fetchall() == [("100.0 MiB",)]
        with pytest.raises(duckdb.InvalidInputException, match="configuration has been locked"):
            connection.execute("SET memory_limit = '1TiB'")
