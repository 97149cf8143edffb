from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.cells import cell_len
from rich.console import Console

from recaption.errors import UserError
from recaption.inspect import ResultFormat, diff, output_diff, print_diff

from .conftest import write_build, write_run

Row = dict[str, Any]


def rewrite(out: Path, table: str, change: Callable[[Row], Row | None]) -> None:
    for path in sorted((out / "dataset" / table).glob("*.parquet")):
        found = pq.read_table(path)
        rows = [row for old in found.to_pylist() if (row := change(old))]
        pq.write_table(pa.Table.from_pylist(rows, schema=found.schema), path)


@pytest.fixture
def two(tmp_path: Path) -> tuple[str, str]:
    """`new` says "puppy" where `old` says "dog", has other keys, flags a sub-caption more, and lacks an image."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        write_run(tmp_path / name)
        write_build(tmp_path / name)
    new = tmp_path / "new"
    for table in ("images", "captions", "sub_captions", "tags"):
        rewrite(new, table, lambda row: row | {"key": f"x{row['key']}"})
    rewrite(new, "images", lambda row: None if row["key"] == "xb1" else row)
    rewrite(new, "tags", lambda row: row | {"lemma": row["lemma"].replace("dog", "puppy")})
    rewrite(new, "captions", lambda row: row | {"text": row["text"].replace("dog", "puppy"), "n_words": 30})
    rewrite(new, "sub_captions", lambda row: row | {"is_meta": row["generation"] == "long"})
    return str(tmp_path / "old"), str(new)


def test_images_are_joined_by_their_bytes(two: tuple[str, str]) -> None:
    (images,) = diff(*two).parts["images"]
    assert images == {"one": 4, "other": 3, "in_both": 3, "only_one": 1, "only_other": 0}


def test_support_is_compared_where_there_are_verifications(two: tuple[str, str], verified: Path) -> None:
    assert "support" not in diff(*two).parts
    golden = str(Path(__file__).parent.parent / "golden" / "output" / "builds" / "sidecar")
    found = diff(golden, str(verified))
    long, short = found.parts["support"]
    assert (long["generation"], long["one"], long["other"], long["other_verified"]) == ("long", None, 38.71, 31)
    assert short["other_low"] < short["other"] < short["other_high"]
    console = Console(file=io.StringIO(), width=200)
    print_diff(found, console)
    assert isinstance(console.file, io.StringIO)
    assert "38.71  23.7–56.2 of 31" in console.file.getvalue()


def test_lengths_flags_and_rejects(two: tuple[str, str]) -> None:
    parts = diff(*two).parts
    long = parts["lengths"][0]
    assert (long["generation"], long["one_captions"], long["other_captions"], long["other_words"]) == ("long", 3, 3, 30)
    assert {(f["generation"], f["flag"]): (f["one"], f["other"]) for f in parts["flags"]} == {
        ("long", "meta"): (0, 100),
        ("long", "negation"): (14.29, 14.29),
    }
    assert all(row["one"] == row["other"] == 1 for row in parts["rejects"])


def test_objects_lost_and_gained(two: tuple[str, str]) -> None:
    found = {row["lemma"]: row["change"] for row in diff(*two).parts["tags"]}
    assert found == {"puppy": 66.67, "dog": -66.67}  # of three images, not of the fourth
    back = {row["lemma"]: row["change"] for row in diff(*reversed(two)).parts["tags"]}
    assert back == {"puppy": -66.67, "dog": 66.67}


def test_samples_begin_with_what_changed_most(two: tuple[str, str]) -> None:
    rows = diff(*two).parts["samples"]
    assert (rows[0]["why"], rows[0]["key"], rows[0]["other_key"]) == ("most changed", "a1", "xa1")
    assert (rows[0]["lost"], rows[0]["gained"], rows[0]["change"]) == (["dog"], ["puppy"], 1.0)
    assert "puppy" in rows[0]["other"] and "puppy" not in rows[0]["one"]
    assert {row["key"] for row in rows} == {"a0", "a1", "b0"}
    assert rows == diff(*two).parts["samples"]
    assert len(diff(*two, limit=1).parts["tags"]) == 2


@pytest.mark.parametrize("width", [60, 140])
def test_the_page(two: tuple[str, str], width: int) -> None:
    file = io.StringIO()
    print_diff(diff(*two), Console(file=file, width=width, force_terminal=True, color_system=None))
    text = file.getvalue()
    assert max(map(cell_len, text.splitlines())) <= width
    assert "old → new" in text and "3 images in both · 1 only in old" in text
    assert "[bold]" in text and "\x1b[31m" not in text
    one = next(line for line in text.splitlines() if "A brown dog" in line)
    assert ("A brown puppy" in one) == (width == 140)


def test_json_and_files(two: tuple[str, str], tmp_path: Path) -> None:
    path = tmp_path / "diff.json"
    output_diff(*two, ResultFormat(file=path), Console(file=io.StringIO()))
    found = json.loads(path.read_text("utf-8"))
    assert (found["one"], found["other"], found["images"]["in_both"]) == ("old", "new", 3)
    with pytest.raises(UserError, match="not as csv"):
        output_diff(*two, ResultFormat(format="csv"), Console(file=io.StringIO()))
    output_diff(*two, ResultFormat(), console := Console(file=io.StringIO()), show=True)
    assert "FULL JOIN" in console.file.getvalue()  # type: ignore[attr-defined]


def test_nothing_in_common(two: tuple[str, str]) -> None:
    rewrite(Path(two[1]), "images", lambda row: row | {"sha256": "e" * 64})
    file = io.StringIO()
    print_diff(diff(*two), Console(file=file, width=80))
    assert "no image in common" in file.getvalue()


def test_what_cannot_be_compared(two: tuple[str, str], run_only: Path) -> None:
    with pytest.raises(UserError, match="no build yet"):
        diff(two[0], str(run_only))
    with pytest.raises(UserError, match="was given twice"):
        diff(two[0], two[0])
    with pytest.raises(UserError, match="two outputs"):
        diff(two[0], f"{two[0][:-3]}[on]*[dw]")
