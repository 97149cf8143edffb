"""All exporters."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recaption.errors import UserError
from recaption.export import MODULES, load
from recaption.export.dataset import Dataset

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
    from recaption.export import load
    from recaption.export.base import Options

    dataset = build([plain])
    used = tmp_path / "used"
    used.mkdir()
    (used / "file").write_text("data")
    for dest in (used, used / "file"):
        with pytest.raises(UserError, match="not an empty folder"):
            load("flair").export(dataset, str(dest), Options())
    assert (used / "file").read_text() == "data"
    with pytest.raises(UserError, match="no usable samples of split val"):
        exported("flair", dataset, split="val")


def test_a_failed_export_leaves_no_file(build: Any, plain: Any, exported: Any, tmp_path: Path) -> None:
    dataset = build([plain] * 3, per_shard=2)
    Path(dataset.file("data/00001.tar.idx")).write_bytes(b"")
    from recaption.errors import DatasetError

    with pytest.raises(DatasetError):
        exported("flair", dataset)
    assert [path for path in (tmp_path / "one").rglob("*") if path.is_file()] == []


def test_a_text_without_a_generation_needs_a_map(without_pixels: Any, plain: Any, exported: Any) -> None:
    with pytest.raises(UserError, match=r"add --map re_caption=ID, where ID is one of raw, short, long"):
        exported("recap", without_pixels([plain]), map={"org_caption": "short"})
    with pytest.raises(UserError, match="no generation is mapped to caption"):
        exported("llava", without_pixels([{"raw": "raw"}], kinds={}))
