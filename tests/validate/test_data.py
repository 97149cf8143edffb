"""Problems of data files in Parquet, of images, and of the source of a sidecar."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import (
    check_found,
    edit_rows,
    first_row,
    first_tag,
    flip,
    in_rows,
    in_sample,
    output_of,
    replaced_by,
)


def backwards(index: list[dict[str, Any]]) -> None:
    for row in index:
        row["offset"] = 100_000 - row["offset"]


FILES: list[tuple[str, str, str, Callable[[Path], Any]]] = [
    (
        "unreadable",
        "parquet",
        "data that are not Parquet",
        replaced_by("data/00000.parquet", b"PAR1 and other bytes"),
    ),
    (
        "image",
        "parquet",
        "bytes",
        in_rows("data/00000.parquet", lambda items: items[0]["image"].update(bytes=b"other")),
    ),
    ("image", "parquet", "name", in_rows("data/00000.parquet", lambda items: items[0]["image"].update(path="x.jpg"))),
    ("image", "parquet", "null", in_rows("data/00000.parquet", lambda items: items[0].update(image=None))),
    ("data", "sidecar", "missing row", in_rows("data/00000.parquet", lambda items: items[1:])),
    ("data", "sidecar", "row swapped", in_rows("data/00000.parquet", lambda items: items[::-1])),
    ("data+loader file", "parquet", "missing row", in_rows("data/val/00000.parquet", lambda items: items[1:])),
    ("data", "parquet", "url", in_rows("data/00000.parquet", first_row(url="https://example.org/other"))),
    (
        "data",
        "sidecar",
        "text of a tag",
        in_rows("data/00000.parquet", lambda items: first_tag(items[0]).update(lemma="bird")),
    ),
    ("data", "sidecar", "missing caption", in_rows("data/00000.parquet", lambda items: items[0]["captions"].pop())),
    ("data", "webdataset", "weight", in_sample(lambda s: s["captions"][1]["sub_captions"][0].update(weight=0.5))),
    ("data", "webdataset", "status", in_sample(lambda s: s.update(status="partial"))),
    ("source", "sidecar", "bytes", lambda b: flip(output_of(b) / "../source/00000.tar", 600)),
    ("source", "sidecar", "cut off", lambda b: (output_of(b) / "../source/00000.tar").write_bytes(b"")),
    (
        "source",
        "sidecar",
        "another order",
        lambda b: edit_rows(output_of(b) / "index/00000.parquet", lambda items: backwards(items)),
    ),
    (
        "source",
        "sidecar",
        "another image",
        lambda b: edit_rows(output_of(b) / "index/00000.parquet", first_row(key="other")),
    ),
    ("no source", "sidecar", "missing", lambda b: shutil.rmtree(output_of(b) / "../source")),
    ("no source", "sidecar", "no index", lambda b: shutil.rmtree(output_of(b) / "index")),
    ("damaged", "sidecar", "index", lambda b: (output_of(b) / "index/00000.parquet").write_bytes(b"")),
]
"""Kind of the problem, format, a name, and the damage to the build."""


@pytest.mark.parametrize(("kind", "format", "name", "damage"), FILES, ids=[f"{k}: {n}, {f}" for k, f, n, _ in FILES])
def test_damaged_files_are_found(kind: str, format: str, name: str, damage: Any, out: Path) -> None:
    check_found(kind, format, damage, out)
