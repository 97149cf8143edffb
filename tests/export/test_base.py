"""All exporters."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recaption.cli import main
from recaption.errors import StoreError, UserError
from recaption.export import MODULES, load
from recaption.export.base import UNFINISHED, Options
from recaption.export.dataset import Dataset
from recaption.export.unfinished import removed_on_failure, unfinished
from recaption.io.store import open_store

FORMATS = Path(__file__).parent.parent.parent / "docs" / "formats.md"


def test_the_table_in_the_documentation_lists_all_trainers() -> None:
    section = FORMATS.read_text("utf-8").split("## Exports", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    assert rows == [(name, load(name).WRITES, load(name).READ_BY) for name in MODULES]


def test_every_exporter_cites_the_source_of_its_format() -> None:
    for name, module in MODULES.items():
        text = load(name).__doc__ or ""
        assert re.search(r"\w+/[\w-]+, \S+\.py|huggingface\.co/datasets/", text), f"{module} names no source"


def test_an_unknown_trainer_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'clip'; allowed: flair, cosmos"):
        load("clip")


def test_a_folder_in_use_and_an_empty_split_are_refused(
    build: Callable[..., Dataset], plain: Any, exported: Any, tmp_path: Path
) -> None:
    dataset = build([plain])
    used = tmp_path / "used"
    used.mkdir()
    (used / "file").write_text("data")
    for dest, message in ((used, "not an empty folder"), (used / "file", "cannot be"), (used / "file/x", "is a file")):
        with pytest.raises(UserError, match=message):
            load("flair").export(dataset, str(dest), Options())
    assert (used / "file").read_text() == "data"
    with pytest.raises(UserError, match="no usable samples of split val"):
        exported("flair", dataset, split="val")


def test_nothing_is_exported_into_a_build(build: Any, plain: Any, tmp_path: Path) -> None:
    """A build never changes, and `--prune` would delete the export."""
    dataset = build([plain])
    inside = tmp_path / "out" / "dataset" / "export"  # through the link
    with pytest.raises(UserError, match=r"dataset/export is inside the build .*builds/.*Name a folder elsewhere"):
        load("flair").export(dataset, str(inside), Options())
    assert not inside.exists()


def test_a_failed_export_leaves_no_file(build: Any, plain: Any, exported: Any, tmp_path: Path) -> None:
    dataset = build([plain] * 3, per_shard=2)
    Path(dataset.file("data/00001.tar.idx")).write_bytes(b"")
    from recaption.errors import DatasetError

    with pytest.raises(DatasetError):
        exported("flair", dataset)
    assert [path for path in (tmp_path / "one").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["txt", "flair", "recap", "openvision"])
def test_the_rest_of_an_export_that_was_killed_is_recognised(
    name: str, build: Any, plain: Any, exported: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = tmp_path / "killed"

    def copy(done: int, total: int) -> None:
        """The files that a kill of the process at this moment leaves."""
        if done == 2 and not killed.exists() and folder.exists():
            shutil.copytree(folder, killed)

    folder = tmp_path / "one" / "two" / f"{name}-0"
    dataset = build([plain] * 6, per_shard=2)
    dest, _ = exported(name, dataset, progress=copy)
    assert dest == folder and not (dest / UNFINISHED).exists() and (killed / UNFINISHED).exists()
    for path in (killed, *(place for place in killed.iterdir() if place.is_dir())):
        assert main(["validate", str(path), "--for", name]) == 1
        said = " ".join(capsys.readouterr().out.split())
        assert "its export did not end" in said and said.endswith("1 error")
    with pytest.raises(UserError, match="a part of an export that is still running or was killed"):
        load(name).export(dataset, str(killed), Options())


def test_of_two_exports_that_start_at_once_one_writes(build: Any, plain: Any, tmp_path: Path) -> None:
    """The second one neither writes into the folder of the first one nor removes its files."""
    store = open_store(str(tmp_path / "one"))
    with removed_on_failure(store):
        store.put("file", b"of the first")
        with pytest.raises(UserError, match="still running or was killed"), removed_on_failure(store):
            pytest.fail("it must not write")
        assert store.get("file") == b"of the first" and store.exists(UNFINISHED)
    assert [*store.list("")] == ["file"]


def test_a_dataset_whose_parent_is_no_place_can_be_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def is_file(path: str) -> bool:
        asked.append(path)
        if path.count("/") < 5:
            raise StoreError("Invalid HF URI")
        return False

    monkeypatch.setattr("recaption.io.files.is_file", is_file)
    assert list(unfinished("hf://datasets/org/name")) == []
    assert asked == [f"hf://datasets/org{name}/{UNFINISHED}" for name in ("/name", "")]


def test_a_text_without_a_generation_needs_a_map(without_pixels: Any, plain: Any, exported: Any) -> None:
    with pytest.raises(UserError, match=r"add --map re_caption=ID, where ID is one of raw, short, long"):
        exported("recap", without_pixels([plain]), map={"org_caption": "short"})
    with pytest.raises(UserError, match="no generation is mapped to caption"):
        exported("llava", without_pixels([{"raw": "raw"}], kinds={}))
