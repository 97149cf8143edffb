"""The table of readers in the documentation names the versions that these tests were run with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
NAMES = {
    "webdataset": "webdataset",
    "open_clip": "open-clip-torch",
    "timm": "timm",
    "Hugging Face `datasets`": "datasets",
    "pandas": "pandas",
    "DuckDB": "duckdb",
    "mlcroissant": "mlcroissant",
}


@pytest.mark.parametrize("reader", NAMES)
def test_versions_are_those_of_the_tested_set(reader: str) -> None:
    table = dict(
        re.findall(r"^\| ([^|]+) \| (\d[^|]+) \|", (ROOT / "docs/formats.md").read_text("utf-8"), re.MULTILINE)
    )
    locked = dict(re.findall(r"^([\w-]+)==(.+)$", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    assert locked[NAMES[reader]] in re.split(r"[ ,]+", table[reader])


@pytest.mark.parametrize(
    ("reader", "package"),
    [("webdataset", "webdataset"), ("MosaicML Streaming", "mosaicml-streaming"), ("LitData", "litdata")],
)
def test_the_ones_put_aside_are_named_too(reader: str, package: str) -> None:
    aside = re.findall(rf'"{package}==(.+?)"', (ROOT / "scripts/setup.py").read_text("utf-8"))
    lines = (ROOT / "docs/formats.md").read_text("utf-8").splitlines()
    row = next(line for line in lines if line.startswith(f"| {reader} |"))
    assert aside and all(version in row for version in aside)
