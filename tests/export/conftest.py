"""Small builds with given texts, and exports of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from written_build import Texts, write_build

from recaption.export.base import Exported, Options
from recaption.export.dataset import Dataset

GOLDEN = Path(__file__).parent.parent / "golden"

PIXELS = ("data/*.tar", "data/*.idx")
HOSTILE = (
    '=HYPERLINK("http://evil","x"),\'; a "quoted" thing. Another, with a comma.',
    "A line.\nAnother line\nand one more.\n\n",
    "NA",
    "None",
    "null",
    "1984",
    "12.",
    "TRUE",
    "...",
    "bidi \u202eevil\u202c. Zero\u200bwidth \ufeffmark.",
    "A sign says <image> here. Then </s> and <s>.",
    "A man said 'ASSISTANT'. He left.",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301\u0301. Family.",
    "x. " * 2_000,
    "word " * 200_000,
)


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Dataset]:
    """Writes a published build: see `write_build`."""
    return partial(write_build, tmp_path / "out")


@pytest.fixture
def without_pixels(build: Any) -> Any:
    """A build without its image files: exports of texts must not need them."""

    def make(*args: Any, **more: Any) -> Any:
        dataset = build(*args, **more)
        for pattern in PIXELS:
            for path in Path(dataset.file("")).glob(pattern):
                path.unlink()
        return dataset

    return make


PLAIN: Texts = {
    "raw": "red kite",
    "short": "A red kite flies.",
    "long": "A red kite flies over dunes. The sky is grey. Waves break at the shore.",
}


@pytest.fixture
def plain() -> Texts:
    return dict(PLAIN)


@pytest.fixture
def hostile() -> list[Texts]:
    return [{"raw": text, "short": text, "long": text} for text in HOSTILE]


@pytest.fixture
def exported(tmp_path: Path) -> Callable[..., tuple[Path, Exported]]:
    """Exports a dataset; returns the folder and the result."""

    def run(name: str, dataset: Dataset, **options: Any) -> tuple[Path, Exported]:
        from recaption.export import load

        dest = tmp_path / "one" / "two" / f"{name}-{len(list(tmp_path.rglob(name + '-*')))}"
        return dest, load(name).export(dataset, str(dest), Options(**options))

    return run


@pytest.fixture
def problems() -> Callable[..., dict[str, str]]:
    """The severity of each kind of problem that a validator finds; without missing images unless they are named."""

    def run(name: str, path: Path | str, **more: Any) -> dict[str, str]:
        from recaption.export import load

        found = list(load(name).validate(str(path), **more))
        assert all(problem.where and problem.what and problem.advice for problem in found)
        kinds = {problem.kind: problem.severity for problem in found}
        return {kind: found for kind, found in kinds.items() if "images" in more or kind != "missing images"}

    return run


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the golden output with its source and a pipeline."""
    shutil.copytree(GOLDEN / "output", tmp_path / "output", symlinks=True)
    shutil.copytree(GOLDEN / "source", tmp_path / "source")
    monkeypatch.chdir(tmp_path)  # the golden index names its files relatively
    pipeline = {
        "name": "golden",
        "source": {"path": "source/*.tar"},
        "models": {"m": {"engine": "column"}},
        "generate": [{"id": "long", "model": "m", "column": "caption"}],
        "output": {"path": "output"},
    }
    (tmp_path / "output" / "pipeline.yaml").write_text(json.dumps(pipeline))
    return tmp_path / "output"
