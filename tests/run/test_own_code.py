"""recaption.run.own_code: the user's own modules of a pipeline, and their copies for Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recaption import config
from recaption.run.own_code import import_folders, modules_of, staged


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of one file, a package, and a folder without __init__.py."""
    monkeypatch.syspath_prepend(str(tmp_path))
    files = ("of_one_file.py", "of_a_folder/__init__.py", "of_a_folder/deep/tables.py", "without_init/tasks.py")
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("raise AssertionError('imported')\n")
    (tmp_path / "of_a_folder" / "__pycache__").mkdir()
    (tmp_path / "of_a_folder" / "__pycache__" / "x.pyc").touch()
    return tmp_path


def pipeline(engine: str = "vllm", task: str = "verify", tables: str | None = None) -> config.Pipeline:
    data: dict[str, Any] = {
        "name": "x",
        "source": {"path": "a.tar"},
        "models": {"m": {"engine": engine, "model": "n"}},
        "generate": [
            {"id": "long", "model": "m", "prompt": "describe_long"},
            {"id": "check", "model": "m", "task": task, "over": "long"},
        ],
        "annotate": {"tables": [tables] if tables else []},
        "output": {"path": "out"},
    }
    return config.validate(data)


def test_engines_tasks_and_tables_are_found_without_an_import(package: Path) -> None:
    mine = pipeline("of_one_file:Engine", "without_init.tasks:Task", "of_a_folder.deep.tables:Table")
    assert modules_of(mine) == {
        "of_one_file": package / "of_one_file.py",
        "of_a_folder": package / "of_a_folder",
        "without_init": package / "without_init",
    }
    assert import_folders(mine) == [str(package)]


@pytest.mark.parametrize("name", ["json", "sys", "numpy.linalg", "no_such_module", "recaption.tasks.verify"])
def test_what_is_installed_or_missing_is_not_copied(name: str) -> None:
    assert modules_of(pipeline(task=f"{name}:Task")) == {}
    assert modules_of(pipeline()) == {} and import_folders(pipeline()) == []


def test_copies_are_packages(package: Path, tmp_path: Path) -> None:
    mine = pipeline("of_one_file:Engine", "without_init.tasks:Task", "of_a_folder.deep.tables:Table")
    folders = [Path(folder) for folder in staged(mine, tmp_path / "copies")]
    assert [folder.name for folder in folders] == ["of_one_file", "of_a_folder", "without_init"]
    found = sorted(str(file.relative_to(tmp_path / "copies")) for file in (tmp_path / "copies").rglob("*.py*"))
    assert found == [
        "of_a_folder/of_a_folder/__init__.py",
        "of_a_folder/of_a_folder/deep/tables.py",
        "of_one_file/of_one_file/__init__.py",
        "without_init/without_init/tasks.py",
    ]
