"""Paths are spelled in one module: what it makes is what the contract says, and no other module spells one."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import recaption
from recaption.output import paths

_SPELLED = re.compile(
    r"^(index|answers|rejects|lease|metrics|builds)/"
    r"|/(answers|rejects|lease|metrics|builds)/|\.parts\b|(^|/)(manifest\.json|CURRENT|pipeline\.yaml)$|^data/"
)
_ELSEWHERE = {
    "export/columns.py",  # data/ of the exported dataset
    "write/contract.py",  # descriptions, not paths of files
    "write/croissant.py",
}


@pytest.mark.parametrize(
    ("made", "path"),
    [
        (paths.index_file("00000"), "index/00000.parquet"),
        (paths.source_rejects("00000"), "rejects/source/00000.parquet"),
        (paths.compacted_file("answers", "long-1f", "a"), "answers/long-1f/a.parquet"),
        (paths.compacted_file("rejects", "long-1f", "a", 2), "rejects/long-1f/a.2.parquet"),
        (paths.parts_folder("answers", "long-1f"), "answers/long-1f/.parts"),
        (paths.part_file("answers", "long-1f", "a", "000001.000002-0003"),
         "answers/long-1f/.parts/a/000001.000002-0003.parquet"),
        (paths.lease_file(3, "beat"), "lease/000003.beat"),
        (paths.run_file("progress"), paths.PROGRESS),
        (paths.log_piece("run-000001", 2), "metrics/log-run-000001-0002.jsonl"),
        (paths.build_folder("1f-r1"), "builds/1f-r1"),
        (paths.table_file("tags", "00000"), "tags/00000.parquet"),
        (paths.data_file("00000", "tar"), "data/00000.tar"),
        (paths.data_file("00000", "tar", "train"), "data/00000.tar"),
        (paths.data_file("00000", "tar", "val"), "data/val/00000.tar"),
    ],
)  # fmt: skip
def test_each_path_is_that_of_the_contract(made: str, path: str) -> None:
    assert made == path


def test_paths_are_read_back() -> None:
    assert paths.index_shard(paths.index_file("a-1")) == "a-1"
    assert {paths.compacted_shard(paths.compacted_file("answers", "long-1f", "a", n)) for n in (0, 12)} == {"a"}
    assert paths.part_numbers(paths.part_file("answers", "long-1f", "a", "000007.000002-0003")) == (7, 2, 3)
    assert paths.part_numbers(paths.part_file("answers", "long-1f", "a", "000000.000000-0001-moved_1f")) == (0, 0, 1)
    assert paths.part_numbers("answers/long-1f/a.parquet") is None
    assert paths.part_actor(paths.part_file("answers", "long-1f", "a", "000007.000002-0003-12_345")) == (2, 12)
    assert paths.part_actor(paths.part_file("rejects", "long-1f", "a", "000007.000002-0003-poison")) is None
    assert paths.lease_epoch(paths.lease_file(12, "json")) == 12
    assert paths.lease_epoch(paths.lease_file(12, "beat")) is None
    assert paths.lease_epoch("lease/notes.json") is None


def _spelled(path: Path) -> list[str]:
    """String literals of a module that spell a path of an output; docstrings and messages (with spaces) are not."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
        if _SPELLED.search(text) and not re.search(r"[ \n?]", text):
            found.append(f"{path.name}:{node.lineno} {text}")
    return found


def test_no_other_module_spells_a_path() -> None:
    package = Path(recaption.__file__).parent
    assert _spelled(package / "output/paths.py")
    others = [path for path in sorted(package.rglob("*.py")) if path != package / "output/paths.py"]
    assert [s for p in others if str(p.relative_to(package)) not in _ELSEWHERE for s in _spelled(p)] == []
