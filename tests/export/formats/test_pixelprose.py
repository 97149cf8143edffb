"""The columns of PixelProse."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq


def test_an_export_has_the_columns_of_pixelprose(without_pixels: Any, plain: Any, exported: Any, problems: Any) -> None:
    dest, _ = exported("pixelprose", without_pixels([plain] * 2, kinds={"short": "short", "long": "region"}))
    (row, _) = pq.read_table(dest / "data").to_pylist()
    # no generation is long, so the first one is used
    assert (row["vlm_caption"], row["original_caption"]) == (plain["short"], plain["raw"])
    assert (row["vlm_model"], row["status"], row["width"], row["height"]) == ("org/name", "success", 48, 40)
    assert row["uid"] == row["sha256"][:32]
    assert problems("pixelprose", dest) == {}
