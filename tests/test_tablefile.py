"""Parquet is read in the calling thread, everywhere: threads of pyarrow abort processes that end while they start."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption.tablefile import read_table

PACKAGE = Path(__file__).parent.parent / "recaption"
READ = {"iter_batches", "read_row_group", "read_row_groups"}  # of a pq.ParquetFile


def test_columns_are_in_the_order_asked_for(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", "y"]}).replace_schema_metadata({"k": "v"})
    pq.write_table(table, tmp_path / "x.parquet")
    assert read_table(tmp_path / "x.parquet").equals(table, check_metadata=False)
    assert read_table(tmp_path / "x.parquet").schema.metadata[b"k"] == b"v"
    found = read_table(pa.BufferReader((tmp_path / "x.parquet").read_bytes()), ["b", "a"])
    assert found.column_names == ["b", "a"] and found["a"].to_pylist() == [1, 2]
    with pytest.raises(pa.ArrowInvalid, match="no column c; its columns are a, b"):
        read_table(tmp_path / "x.parquet", ["a", "c"])
    (tmp_path / "x.parquet").write_bytes(b"no table")
    with pytest.raises((pa.ArrowException, OSError)):
        read_table(tmp_path / "x.parquet")


def test_no_thread_is_started(tmp_path: Path) -> None:
    pq.write_table(pa.table({name: list(range(1000)) for name in "abcdefgh"}), tmp_path / "x.parquet", row_group_size=9)
    code = """
import os, sys
import pyarrow.parquet as pq
from recaption.tablefile import read_table
before = len(os.listdir("/proc/self/task"))
read_table(sys.argv[1])
mine = len(os.listdir("/proc/self/task"))
pq.read_table(sys.argv[1])
print(mine - before, len(os.listdir("/proc/self/task")) > mine, flush=True)
os._exit(0)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "x.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True"], "pyarrow's own function starts some: the test can see them"


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node.func.attr, node


def test_all_of_recaption_reads_so() -> None:
    found = 0
    for place, name, call in calls():
        of_pq = isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Name) and call.func.value.id
        assert not (name == "read_table" and of_pq == "pq"), f"{place}: use recaption.tablefile.read_table"
        if name in READ:
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            value = given.get("use_threads")
            assert isinstance(value, ast.Constant) and value.value is False, (
                f"{place}: {name} without use_threads=False"
            )
            found += 1
    assert found >= 5
