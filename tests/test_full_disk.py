"""A disk that fills up: exit code 3 with advice, no temporary files, and the same command works once there is room."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exported_tables import full_tables
from samples import jpeg
from small_output import answer_all, build_all, pipeline_data, write_source
from task_engine import TaskEngine
from written_build import write_build

from recaption import cli
from recaption.errors import RecaptionError, StoreError
from recaption.export import MODULES, WITHOUT_IMAGE_FILES, load
from recaption.export.base import Options
from recaption.export.dataset import Dataset
from recaption.export.formats import beta_clip, sharegpt4v
from recaption.generate.plan import Plan
from recaption.io.outfile import outfile
from recaption.io.store import LocalStore

HERE = Path(__file__).parent
ROOMS = (0, 4096, 20_480, 65_536, 131_072)  # bytes that are left: the failure comes early or late


class SmallDisk:
    """A file system of its own, `path`, whose free space a test sets."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def leave(self, room: int) -> None:
        self._filler.unlink(missing_ok=True)
        space = os.statvfs(self.path)
        with self._filler.open("wb") as file:
            file.write(b"\0" * max(0, space.f_bavail * space.f_frsize - room))

    def free(self) -> None:
        self._filler.unlink()

    def files(self) -> set[str]:
        return {str(p.relative_to(self.path)) for p in self.path.rglob("*") if not p.is_dir()} - {"filler"}

    def temporaries(self) -> list[str]:
        return [name for name in self.files() if "/.tmp-" in f"/{name}"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def answered(tmp_path: Path, disk: SmallDisk) -> Plan:
    """Answers of 24 images whose output is on the small disk."""
    write_source(tmp_path, shards=2, per_shard=12)
    data = pipeline_data(tmp_path)
    data["output"]["path"] = str(disk.path / "out")
    return answer_all(data)


def fails_then_works(
    disk: SmallDisk, do: Callable[[], object], capsys: pytest.CaptureFixture[str] | None = None
) -> None:
    """`do` returns an exit code or raises. It must have failed at least once for lack of space before it works."""
    failures = 0
    for room in ROOMS:
        before = disk.files()
        disk.leave(room)
        try:
            code = do()
        except StoreError as error:
            assert error.exit_code == 3 and "Free some space" in str(error)
            code = 3
        else:
            if code == 3:
                assert capsys is not None and "Free some space" in capsys.readouterr().err
        disk.free()
        assert disk.temporaries() == []
        if code != 3:
            break
        failures += 1
        assert before <= disk.files()
    assert failures, "the disk was never too full"
    assert do() in (0, None) or code == 0


@pytest.mark.parametrize("format", ["sidecar", "webdataset", "parquet"])
def test_build(answered: Plan, disk: SmallDisk, format: str) -> None:
    output = answered.pipeline.output.model_copy(update={"format": format, "token_ids": ("clip",)})
    pipeline = answered.pipeline.model_copy(update={"output": output})
    plan = Plan(pipeline=pipeline, models=answered.models)
    fails_then_works(disk, lambda: build_all(plan) and None)


class Encoder(TaskEngine):
    """Scores and embeddings of two numbers."""

    outputs = TaskEngine.outputs | {"embeddings"}


def with_tasks(data: dict[str, Any]) -> dict[str, Any]:
    """The pipeline with tasks that add tables, captions, embeddings and log-probabilities."""
    data["models"] |= {
        "fake": {"engine": "fake_engine:FakeEngine", "model": "scene"},
        "encoder": {"engine": "test_full_disk:Encoder", "model": "scene"},
    }
    data["generate"] = [
        data["generate"][0],
        {"id": "check", "model": "fake", "task": "verify", "over": "long", "which": "all"},
        {"id": "repaired", "model": "fake", "task": "repair", "over": "check"},
        {"id": "similar", "model": "encoder", "task": "score", "over": "long", "embed": ["images", "sub_captions"]},
        {"id": "hard", "model": "fake", "task": "negatives", "over": "long", "method": "rules"},
    ]
    return data


OF_TASKS = {"verifications", "scores", "negatives", "embeddings"}


def test_build_of_tasks(tmp_path: Path, disk: SmallDisk) -> None:
    """The disk is full at each file of the tasks in turn."""
    write_source(tmp_path, shards=1, per_shard=12)
    data = with_tasks(pipeline_data(tmp_path))
    data["output"] |= {"path": str(disk.path / "out"), "format": "webdataset"}
    plan = answer_all(data)
    built = build_all(plan)
    files = sorted((file for file in built.rglob("*") if file.is_file()), key=lambda file: file.stat().st_mtime_ns)
    written = {str(file.relative_to(built)): file.read_bytes() for file in files}
    failed: set[str] = set()
    room = 0
    for name, content in written.items():
        table = name.split("/")[0]
        if table in OF_TASKS:
            shutil.rmtree(disk.path / "out" / "builds")
            disk.leave(room)
            with pytest.raises(StoreError, match="Free some space") as error:
                build_all(plan)
            assert error.value.exit_code == 3
            failed.add(table)
            disk.free()
            assert disk.temporaries() == []
        room += -(-len(content) // 4096) * 4096
    assert failed == OF_TASKS
    shutil.rmtree(disk.path / "out" / "builds")
    again = build_all(plan)
    assert {str(file.relative_to(again)): file.read_bytes() for file in again.rglob("*") if file.is_file()} == written


def test_answers_about_units_are_stored_whole_or_not_at_all(tmp_path: Path, disk: SmallDisk) -> None:
    """Parts of answers with units, values, embeddings and log-probabilities."""
    write_source(tmp_path, shards=1, per_shard=12)
    data = with_tasks(pipeline_data(tmp_path))
    data["output"]["path"] = str(disk.path / "out")
    fails_then_works(disk, lambda: answer_all(data) and None)


OF_CAPTIONS = [
    *("flair", "cosmos", "dreamlip", "open_clip", "recap", "pixelprose", "llava", "fg_clip", "mllms_augmented"),
    *("monkey", "txt", "imagefolder", "coco"),
]
"""Formats that need no more than captions."""


@pytest.mark.parametrize("name", OF_CAPTIONS)
def test_export(answered: Plan, disk: SmallDisk, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    build_all(answered)
    dest = disk.path / "exported"

    def export() -> int:
        if dest.exists() and any(dest.iterdir()) and code_of_last[0] == 0:
            shutil.rmtree(dest)
        code_of_last[0] = cli.main(["export", str(disk.path / "out"), str(dest), "--to", name])
        if code_of_last[0] == 3:
            assert not dest.exists() or list(dest.iterdir()) == []
        return code_of_last[0]

    code_of_last = [3]
    fails_then_works(disk, export, capsys)


@pytest.fixture(scope="module")
def with_tables(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A build with the tables and translations that exporters read, on a disk with space."""
    row = {"raw": "a kite", "short": "A kite.", "long": "A red kite flies over dunes. The sky is grey."}
    rows = [{**row, "long_zh": "风筝。", "short_zh": "风筝", "long": f"{row['long']} {'It is red. ' * 50}"}] * 20
    kinds = {"short": "short", "long": "long", "long_zh": "long", "short_zh": "short"}
    langs = {"long_zh": "zh", "short_zh": "zh"}
    out = tmp_path_factory.mktemp("with_tables") / "out"
    return write_build(out, rows, kinds=kinds, langs=langs, tables=full_tables())


@pytest.mark.parametrize("name", sorted(set(MODULES) - set(OF_CAPTIONS)))
def test_export_of_tables(name: str, with_tables: Dataset, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sharegpt4v, beta_clip):
        monkeypatch.setattr(module, "LAYOUT", replace(module.LAYOUT, least=1))
    dest = disk.path / "exported"
    maps = {"make": {"visual_concept_caption": "look", "ontology_caption": "diagnosis"}}
    options = Options(map=maps.get(name, {}), images="none" if name in WITHOUT_IMAGE_FILES else "jpg")

    def export() -> None:
        if dest.exists() and any(dest.iterdir()):
            shutil.rmtree(dest)
        try:
            load(name).export(with_tables, str(dest), options)
        except StoreError:
            assert not dest.exists() or list(dest.iterdir()) == []
            raise

    fails_then_works(disk, export)


def test_report(answered: Plan, disk: SmallDisk, capsys: pytest.CaptureFixture[str]) -> None:
    build_all(answered)
    fails_then_works(disk, lambda: cli.main(["report", str(disk.path / "out")]), capsys)


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_inspect(answered: Plan, disk: SmallDisk, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    build_all(answered)
    file = disk.path / f"rows.{suffix}"
    question = "SELECT md5(range::VARCHAR) AS hash FROM range(2000)"
    fails_then_works(disk, lambda: cli.main(["inspect", str(disk.path / "out"), question, "-o", str(file)]), capsys)


def test_a_full_disk_ends_a_run_and_the_next_one_continues(tmp_path: Path, disk: SmallDisk) -> None:
    """Through the command line and Ray: what is stored stays, and the run after it goes on."""
    stored = HERE / "stored" / "folder"
    folder = tmp_path / "run"
    shutil.copytree(stored, folder, ignore=shutil.ignore_patterns("out"))
    shutil.copytree(stored / "out", disk.path / "out", symlinks=True)
    command = [sys.executable, "-m", "recaption", "run", "pipelines/stored.yaml", "--quiet"]
    command += ["--set", f"output.path={disk.path}/out", "--set", "output.format=webdataset"]

    def run() -> int:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
        errors.append(done.stderr)
        return done.returncode

    errors: list[str] = []
    disk.leave(8192)
    assert run() == 3, errors
    assert "Free some space" in errors[-1] and "Traceback" not in errors[-1]
    assert disk.temporaries() == []
    disk.free()
    for place in ("out", "out/index", "out/metrics"):
        (disk.path / place / ".tmp-killed").write_bytes(b"x")
    assert run() == 0, errors
    assert disk.temporaries() == []


def test_the_first_error_is_the_one_that_is_raised(disk: SmallDisk) -> None:
    store = LocalStore(disk.path)
    disk.leave(4096)
    with pytest.raises(RecaptionError, match="one bad sample"), outfile(store, "file") as sink:
        sink.write(jpeg(1) * 10)
        raise RecaptionError("one bad sample")
    assert disk.files() == set()
