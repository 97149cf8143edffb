"""A task of a user's own package goes through everything: run, kill, resume, build, inspect, validate, report, export.

Nothing of recaption knows it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from killed_run import TESTS, KilledRun
from samples import jpeg, sample, write_tar

from recaption.cli import main

MOODS = '''
import pyarrow as pa
from recaption.schema import column
from recaption.tasks.base import CAPTIONS, Parsed, Rows, TableSpec, Task, Unit, sub_captions, sub_id, unit_id
from recaption.tasks.output import Output


class Moods(Task):
    """Whether a sentence is cheerful or gloomy."""

    prompt = None
    variables = frozenset({"sentence"})
    reads = frozenset({CAPTIONS})
    columns = pa.schema([column("sub_id", pa.string(), "sentence"), column("mood", pa.string(), "its mood")])
    tables = {"moods": TableSpec(name="moods", columns=columns, parent="sub_caption", description="moods of sentences")}

    def output(self, unit):
        return Output(choices=("cheerful", "gloomy"))

    def units(self, image, inputs):
        return [Unit(id=unit_id(image.key, s), variables={"sentence": s.text}) for _, s in sub_captions(inputs)]

    def parse(self, unit, completion):
        return Parsed(finish="stop", value=completion.text)

    def rows(self, generation, image, inputs, answers):
        found = [a for a in answers if a.answer]
        return Rows(tables={"moods": [{"sub_id": sub_id(image.key, a.unit), "mood": a.answer.text} for a in found]})
'''
PROMPT = "---\nid: mood\nversion: 1\n---\nIs this cheerful or gloomy: {{ sentence }}\n"
IMAGES = 60


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KilledRun:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "moods_of_my_own.py").write_text(MOODS)
    monkeypatch.syspath_prepend(str(tmp_path / "package"))
    (tmp_path / "mood.md").write_text(PROMPT)
    write_tar(tmp_path / "source" / "0.tar", [sample(f"{i:04d}", jpeg(i), f"text {i}") for i in range(IMAGES)])
    work = KilledRun(tmp_path / "work", tmp_path / "source", capacity=8, latency=0.02)
    task = {"id": "mood", "model": "fake", "task": "moods_of_my_own:Moods", "prompt": str(tmp_path / "mood.md")}
    work.data["generate"][1] = {**task, "over": "long"}
    work.write()
    return work


@pytest.mark.systems
def test_a_task_of_a_users_package_needs_no_change_anywhere_else(
    work: KilledRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(MOODS.strip().splitlines()) + len(PROMPT.splitlines()) <= 80, "all that a task needs"
    paths = os.pathsep.join([str(tmp_path / "package"), str(TESTS), str(TESTS.parent)])
    work.start(PYTHONPATH=paths)
    assert work.wait_until_asked(IMAGES, room=IMAGES) and work.kill("driver", held=True)
    assert work.wait(held=True) == 3, work.said()
    lost = work.unstored()
    work.start(PYTHONPATH=paths)
    assert work.wait() == 0, work.said()
    environment = {**os.environ, "PYTHONPATH": paths}
    units = 2 * IMAGES
    assert work.asked() == IMAGES + units + lost, "what is in the store is not asked again"
    for form in ("webdataset", "parquet", "sidecar"):
        command = ["build", str(work.pipeline), "--set", f"output.format={form}", "--quiet"]
        subprocess.run([sys.executable, "-m", "recaption", *command], env=environment, check=True)
        rows = pq.read_table(work.out / "dataset" / "moods").to_pylist()
        subs = pq.read_table(work.out / "dataset" / "sub_captions", columns=["sub_id", "generation"]).to_pylist()
        assert {row["sub_id"] for row in rows} == {s["sub_id"] for s in subs if s["generation"] == "long"}
        assert {(row["generation"], row["mood"]) for row in rows} == {("mood", "cheerful"), ("mood", "gloomy")}
        assert main(["validate", str(work.out)]) == 0
    manifest = json.loads((work.out / "dataset" / "manifest.json").read_text())
    assert [(task["id"], task["asked"], task["answered"]) for task in manifest["tasks"]] == [("mood", units, units)]
    capsys.readouterr()
    query = "SELECT count(*) AS n, count(DISTINCT mood) AS m FROM moods"
    assert main(["inspect", str(work.out), query, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"n": units, "m": 2}
    assert main(["report", str(work.out), "-o", str(tmp_path / "report.html")]) == 0
    assert main(["export", str(work.out), str(tmp_path / "export"), "--to", "dreamlip"]) == 0
    assert main(["status", str(work.out)]) == 0
