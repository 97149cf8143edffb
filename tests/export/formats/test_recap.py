"""The columns of Recap-DataComp-1B."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq


def test_an_export_has_the_columns_of_recap_datacomp(
    without_pixels: Any, plain: Any, exported: Any, problems: Any
) -> None:
    rows = [plain, {"long": "Only long."}, {"raw": "only raw"}]
    dest, done = exported("recap", without_pixels([*rows, *[plain] * 3], per_shard=4))
    assert [p.name for p in sorted((dest / "data").iterdir())] == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    table = pq.read_table(dest / "data")
    assert table.column_names == [
        *("url", "re_caption", "org_caption", "sha256", "key"),
        *("re_length", "org_length"),
    ]
    first, second, third = table.to_pylist()[:3]
    assert (first["re_caption"], first["org_caption"], first["re_length"]) == (plain["long"], "red kite", 15)
    assert (second["re_caption"], second["org_caption"], third["key"]) == ("Only long.", "", "k0003")
    assert len(first["sha256"]) == 64 and first["url"] == "https://example.org/0.jpg"
    assert (done.samples, done.left_out) == (5, {"no text of long": 1})
    assert problems("recap", dest) == problems("recap", dest / "data") == {}
    assert problems("recap", dest / "data" / "train-00000-of-00002.parquet") == {}
