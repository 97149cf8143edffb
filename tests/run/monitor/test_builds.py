"""The builds of an output: their list in `recaption status`, and the notice that images are copied again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from local_run import local_runs

from recaption import config
from recaption.cli import main
from recaption.io.store import LocalStore
from recaption.progress import Display
from recaption.run import run
from recaption.run.monitor.builds import copied_again, read_builds

GOLDEN = Path(__file__).parents[2] / "golden" / "output"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A published sidecar, a build with images, and one without a manifest."""
    for name in ("sidecar", "webdataset"):
        (tmp_path / "builds" / name).mkdir(parents=True)
        shutil.copy(GOLDEN / "builds" / name / "manifest.json", tmp_path / "builds" / name)
    (tmp_path / "builds" / "z-killed" / "data").mkdir(parents=True)
    (tmp_path / "dataset").symlink_to("builds/sidecar")
    return tmp_path


def test_builds_have_the_sizes_of_their_manifests(output: Path) -> None:
    sidecar, webdataset, killed = read_builds(LocalStore(output))
    assert sidecar.nbytes == sum(of_shard["bytes"] for of_shard in files(output, "sidecar"))
    assert re.fullmatch(r"sidecar  sidecar  20 images  \d+\.\d kB  published", str(sidecar))
    assert re.fullmatch(r"webdataset  webdataset  20 images  \d+\.\d kB", str(webdataset))
    assert killed.format is None and str(killed) == "z-killed  not finished, or written by another version"


def files(output: Path, build: str) -> list[dict[str, Any]]:
    manifest = json.loads((output / "builds" / build / "manifest.json").read_text())
    return [file for shard in manifest["shards"] for file in shard["files"]]


def test_only_a_build_with_images_copies_those_of_another_one(output: Path) -> None:
    store = LocalStore(output)
    said = copied_again(store, "new", "parquet")
    assert said is not None and "copies all images again (parquet); builds/webdataset has " in said
    assert "output.format: sidecar" in said and "`--prune`" in said
    assert copied_again(store, "new", "sidecar") is None
    assert copied_again(store, "webdataset", "webdataset") is None, "the build itself"
    shutil.rmtree(output / "builds" / "webdataset")
    assert copied_again(store, "new", "parquet") is None, "a sidecar has no images"


def test_status_lists_builds(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (output / "metrics").mkdir()
    (output / "metrics" / "progress.json").write_text(json.dumps({"run": "run-000001", "state": "done"}))
    assert main(["status", str(output)]) == 0
    assert "builds\n  sidecar  sidecar  20 images" in capsys.readouterr().out
    assert main(["status", str(output), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["builds"]
    assert [(build["name"], build["published"]) for build in listed] == [
        ("sidecar", True),
        ("webdataset", False),
        ("z-killed", False),
    ]


class Messages(Display):
    def __init__(self) -> None:
        self.found: list[str] = []

    def message(self, text: str) -> None:
        self.found.append(text)


def test_a_run_says_that_it_copies_images_again(make_source: Callable[..., Path], tmp_path: Path) -> None:
    def copies(**annotate: Any) -> bool:
        data = {
            "name": "p",
            "source": {"path": f"{make_source(shards=1, per_shard=2)}/*.tar"},
            "models": {"m": {"engine": "column"}},
            "generate": [{"id": "long", "model": "m", "column": "title"}],
            "annotate": {"splitter": "flair_regex", **annotate},
            "output": {"path": str(tmp_path / "out"), "format": "webdataset"},
        }
        display = Messages()
        run(config.validate(data), None, display)
        return any("copies all images again" in text for text in display.found)

    with local_runs():
        assert [copies(), copies(), copies(tables=["concepts"]), copies()] == [False, False, True, False]
