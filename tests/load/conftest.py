"""A small build in each format, made once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

FORMATS = ("webdataset", "sidecar", "parquet")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The output of a format: 3 shards of 18 images, of which 48 are train samples and 3 val ones."""
    made: dict[str, Path] = {}

    def of(format: str) -> Path:
        if format not in made:
            from loading import make_build  # needs torch, which not every test here does

            made[format] = make_build(tmp_path_factory.mktemp(format), format)
        return made[format]

    return of


@pytest.fixture
def own_copy(built: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A build of a format to be damaged."""
    from loading import make_build

    return lambda format: make_build(tmp_path, format)
