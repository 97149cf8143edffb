"""Plain DuckDB, started in a build's folder with its views.sql."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest


@pytest.mark.parametrize("format", ["sidecar", "webdataset", "parquet"])
def test_the_views_hold_what_was_written(
    out: Path, expected: list[Any], format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(out / "builds" / format)
    connection = duckdb.connect()
    connection.execute(Path("views.sql").read_text("utf-8"))
    rows = connection.execute("SELECT key, generation, text FROM captions").fetchall()
    assert sorted(rows) == sorted((e.key, name, text) for e in expected for name, text in e.texts.items())
    joined = """SELECT count(*) FROM sub_captions s JOIN captions c USING (caption_id)
                WHERE c.text[s.char_start + 1 : s.char_end] = s.text"""
    assert connection.execute(joined).fetchone() == connection.execute("SELECT count(*) FROM sub_captions").fetchone()
    splits = connection.execute("SELECT sum(train), sum(val) FROM shards").fetchone()
    assert splits == tuple(sum(e.split == split for e in expected) for split in ("train", "val"))
    asked = "SELECT count(*) FROM rejects WHERE generation IS NULL"
    assert connection.execute(asked).fetchone() == (3,)
