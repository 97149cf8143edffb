"""Outputs that an earlier version made: opened, continued with zero requests to an engine, and built again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from recaption import inspect
from recaption.io.store import open_store
from recaption.load import CaptionDataset
from recaption.output.locate import read_manifest
from recaption.problems import Problem
from recaption.validate import validate_output

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
OUTPUTS = {
    "tars": ("sidecar", "webdataset", "parquet"),
    "nulls": ("sidecar", "parquet"),
    "folder": ("webdataset", "parquet"),
}
IMAGES = {"tars": 8, "nulls": 3, "folder": 6}


@pytest.fixture(params=list(OUTPUTS))
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the folder that a run was started in."""
    folder = tmp_path / str(request.param)
    shutil.copytree(HERE / folder.name, folder, symlinks=True)
    return folder


def recaption(folder: Path, *arguments: str) -> str:
    """Run one command in `folder` and return its output."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, "-m", "recaption", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def paid(folder: Path) -> dict[str, bytes]:
    """Every file that holds answers or rejects of an engine. Nothing is listed beside them while a run goes on."""
    files = (p for kind in ("answers", "rejects") for p in (folder / "out" / kind).rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if "rejects/source" not in p.as_posix()}


def table(folder: Path, build: str, name: str, columns: list[str]) -> list[dict[str, Any]]:
    files = sorted((folder / "out" / build / name).glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file, columns=columns, partitioning=None).to_pylist()]


def errors(folder: Path) -> list[Problem]:
    return [problem for problem in validate_output(str(folder / "out")) if problem.severity == "error"]


def current(folder: Path) -> str:
    return str((folder / "out" / "dataset").readlink())


def test_it_opens(stored: Path) -> None:
    with inspect.connect(str(stored / "out")) as opened:
        assert opened.sql("SELECT count(*) FROM images").fetchall() == [(IMAGES[stored.name],)]
        for view in ("captions", "sub_captions", "objects", "answers", "runs", "shards"):
            assert opened.sql(f"SELECT count(*) FROM {view}").fetchall()[0][0] > 0, view
    for build in sorted((stored / "out" / "builds").iterdir()):
        source = (
            stored / "source"
            if read_manifest(open_store(str(stored / "out")), f"builds/{build.name}")["format"] == "sidecar"
            else None
        )
        batches = list(CaptionDataset(str(build), batch_size=2, epochs=1, drop_last="pad", strings=True, source=source))
        assert batches and all(all(texts) for batch in batches for texts in batch["strings"])
    assert errors(stored) == []


def test_it_continues_without_a_request(stored: Path) -> None:
    """No engine can answer: the server's port is closed, and a new answer would change the files."""
    before, build = paid(stored), current(stored)
    recaption(stored, "run", "pipelines/stored.yaml", "--quiet")
    assert paid(stored) == before
    columns = ["caption_id", "key", "generation", "text"]
    assert table(stored, current(stored), "captions", columns) == table(stored, build, "captions", columns)
    keys = ["key", "source_key", "sha256", "status", "split"]
    assert table(stored, current(stored), "images", keys) == table(stored, build, "images", keys)


@pytest.mark.systems
def test_it_is_built_in_every_format(stored: Path) -> None:
    before, build = paid(stored), current(stored)
    columns = ["sub_id", "text", "char_start", "char_end", "weight"]
    expected = table(stored, build, "sub_captions", columns)
    for format in OUTPUTS[stored.name]:
        recaption(stored, "build", "pipelines/stored.yaml", "--quiet", "--set", f"output.format={format}")
        made = current(stored)
        assert read_manifest(open_store(str(stored / "out")), made)["format"] == format
        assert table(stored, made, "sub_captions", columns) == expected
        assert errors(stored) == []
    assert paid(stored) == before
