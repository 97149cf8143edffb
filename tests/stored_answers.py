"""The answers in the store of a run, in parts and compacted shards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq


def stored_answers(out: Path) -> set[tuple[str, str, str]]:
    """(generation, image, request) of each. Parts may be compacted meanwhile: no answer is counted twice."""
    return {row for file in _files(out / "answers") for row in _rows(file, file.relative_to(out / "answers").parts[0])}


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):  # unlike rglob, it leaves out folders that are removed meanwhile
        yield from (Path(parent, name) for name in names if name.endswith(".parquet") and not name.startswith(".tmp-"))


def _rows(file: Path, generation: str) -> Iterator[tuple[str, str, str]]:
    with suppress(FileNotFoundError):
        table = pq.read_table(file, columns=["sha256", "prompt_sha256"], partitioning=None)
        yield from ((generation, row["sha256"], row["prompt_sha256"]) for row in table.to_pylist())
