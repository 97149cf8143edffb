"""The section about a probe: its results, or nothing."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from recaption.inspect.paths import OutputPaths, find
from recaption.inspect.report import gather
from recaption.inspect.report.page import render
from recaption.inspect.report.probed import read
from recaption.io.store import LocalStore

GOLDEN = Path(__file__).parents[2] / "golden" / "output"
ABOUT = {
    "arms": ["weighted:k=4", "raw"],
    "controls": ["again", "corrupted", "other images"],
    "images": {"train": 2048, "queries": 1000},
    "seeds": 2,
    "encoder": "scene",
    "text": "trained",
}
TRUTH = ABOUT | {
    "results": [
        {
            "slice": "<i>colour</i>",
            "metric": "fine",
            "values": {name: [0.5, 0.6] for name in (*ABOUT["arms"], *ABOUT["controls"])},
        }
    ],
    "verdicts": ["no verdict: it needs 5 seeds, and there are 2"],
}
CONSISTENCY = ABOUT | {"consistency": {a: {b: [0.25] for b in ABOUT["arms"]} for a in ABOUT["arms"]}}


def output(folder: Path, content: Any, plot: str | None = None) -> OutputPaths:
    (folder / "probe").mkdir()
    (folder / "probe" / "probe.json").write_text(content if isinstance(content, str) else json.dumps(content))
    if plot:
        (folder / "probe" / "probe.svg").write_text(plot)
    return OutputPaths(given=str(folder), out=LocalStore(folder), build=None)


def test_the_results_are_a_table_with_verdicts(tmp_path: Path) -> None:
    found = read(output(tmp_path, TRUTH, plot="<svg/>"))
    assert found and found.measured == "truth" and found.columns == ("<i>colour</i>, fine",)
    assert [name for name, _ in found.rows] == [
        "weighted:k=4", "raw", "control: again", "control: corrupted", "control: other images"
    ]  # fmt: skip
    assert found.rows[0][1] == ("0.550 ± 0.071",)
    assert found.verdicts == tuple(TRUTH["verdicts"]) and "2 seeds" in found.facts
    assert found.plot == f"data:image/svg+xml;base64,{base64.b64encode(b'<svg/>').decode()}"


def test_without_queries_it_is_a_matrix_without_verdicts(tmp_path: Path) -> None:
    found = read(output(tmp_path, CONSISTENCY))
    assert found and (found.measured, found.verdicts, found.plot) == ("consistency", (), None)
    assert found.rows == (("weighted:k=4", ("0.250", "0.250")), ("raw", ("0.250", "0.250")))


@pytest.mark.parametrize("content", ['{"arms"', "[1]", "{}", json.dumps({**TRUTH, "results": [{}]})])
def test_a_file_that_is_damaged_is_ignored(tmp_path: Path, content: str) -> None:
    assert read(output(tmp_path, content)) is None


def test_an_output_without_a_probe_has_no_section(tmp_path: Path) -> None:
    assert read(OutputPaths(given=str(tmp_path), out=LocalStore(tmp_path), build=None)) is None


@pytest.mark.parametrize(("content", "text"), [(TRUTH, "no verdict: it needs 5 seeds"), (CONSISTENCY, "not truth")])
def test_the_page_has_the_section(tmp_path: Path, content: Any, text: str) -> None:
    out = shutil.copytree(GOLDEN, tmp_path / "out")
    assert 'id="probe"' not in render(gather(find(str(out))))
    output(out, content)
    html = render(gather(find(str(out))))
    assert 'id="probe"' in html and 'href="#probe"' in html and text in html and "<i>colour" not in html
