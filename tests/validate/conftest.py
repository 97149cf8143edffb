"""Copies of the golden dataset, and builds of it with changed records."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from recaption.types import Record

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="session")
def golden() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the golden output and of its source."""
    for part in ("output", "source"):
        shutil.copytree(GOLDEN / part, tmp_path / part, symlinks=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "output"


@pytest.fixture
def remake(golden: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes the golden output in format webdataset, from records changed by `change`."""

    def make(change: Callable[[Record], Record]) -> Path:
        annotate = golden.annotate
        monkeypatch.setattr(golden, "FORMATS", ("webdataset",))
        monkeypatch.setattr(golden, "annotate", lambda record, scene: change(annotate(record, scene)))
        monkeypatch.chdir(tmp_path)
        return Path(golden.make(tmp_path))

    return make
