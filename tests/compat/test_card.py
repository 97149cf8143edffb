"""What a card says to type works as it stands, with the path put in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

FORMATS = ("sidecar", "webdataset", "parquet")


def blocks(build: Path, language: str) -> list[str]:
    card = (build / "README.md").read_text("utf-8")
    return [
        b.replace("PATH", str(build))
        for b in re.findall(rf"^```{language}\n(.+?)\n```$", card, re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize("format", FORMATS)
def test_python(
    out: Path,
    expected: list[Any],
    format: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    found = blocks(out / "builds" / format, "python")
    assert len(found) == (2 if format == "webdataset" else 1)
    names: dict[str, Any] = {}
    exec(found[0], names)
    assert sum(split.num_rows for split in names["data"].values()) == (20 if format == "sidecar" else 16)
    captions = names["captions"]["train"] if format == "webdataset" else names["captions"]
    assert sorted(captions["text"]) == sorted(text for e in expected for text in e.texts.values())
    if format == "webdataset":
        # in a process of its own: webdataset leaves its files to the garbage collector
        done = subprocess.run([sys.executable, "-c", found[1]], capture_output=True, text=True, check=True)
        wanted = [f"{e.key} (64, 48) {e.primary}" for e in expected if e.split == "train"]
        assert done.stdout.splitlines() == wanted


@pytest.mark.parametrize("format", FORMATS)
def test_duckdb(out: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = blocks(out / "builds" / format, "sh")
    monkeypatch.chdir(out / "builds" / format)
    where, _, rest = command.partition(" && ")
    assert where == f"cd {out / 'builds' / format}"
    if shutil.which("duckdb"):
        done = subprocess.run(rest, shell=True, capture_output=True, text=True, check=True)
        assert "weight" in done.stdout
    connection = duckdb.connect()
    connection.execute(Path("views.sql").read_text("utf-8"))
    query = re.search(r'-c "(.+)"$', rest)
    assert query and len(connection.execute(query[1]).fetchall()) == 5
