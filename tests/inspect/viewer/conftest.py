from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from verified import verify_long

GOLDEN = Path(__file__).parents[2] / "golden" / "output"


@pytest.fixture(scope="session")
def golden_copy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Makes a copy of the golden output; the second sub-captions of `long` are unsupported."""

    def copy() -> Path:
        out = Path(shutil.copytree(GOLDEN, tmp_path_factory.mktemp("golden") / "out", symlinks=True))
        verify_long(out / "builds/webdataset", lambda sub: 0.2 if sub["idx"] == 1 else 0.9)
        return out

    return copy


@pytest.fixture(scope="session")
def golden(golden_copy: Callable[[], Path]) -> Path:
    """One that no test changes."""
    return golden_copy()
