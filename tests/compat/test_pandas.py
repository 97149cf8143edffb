"""pandas on the flat tables: strings stay strings, numbers numbers, lists lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FORMATS = ("sidecar", "webdataset", "parquet")


@pytest.mark.parametrize("format", FORMATS)
def test_captions_are_the_texts_that_were_written(out: Path, expected: list[Any], format: str) -> None:
    import pandas as pd

    table = pd.read_parquet(out / "builds" / format / "captions")
    wanted = {(e.key, name): text for e in expected for name, text in e.texts.items()}
    assert dict(zip(zip(table["key"], table["generation"], strict=True), table["text"], strict=True)) == wanted
    assert len(table) == len(wanted) and str(table["n_words"].dtype) == "int32"


@pytest.mark.parametrize("format", FORMATS)
def test_sub_captions_have_their_types_and_spans(out: Path, format: str) -> None:
    import pandas as pd

    folder = out / "builds" / format
    captions = pd.read_parquet(folder / "captions").set_index("caption_id")["text"]
    table = pd.read_parquet(folder / "sub_captions")
    kinds = {"idx": "int32", "n_tokens_clip": "int32", "is_negation": "bool", "weight": "float64"}
    assert {name: str(table[name].dtype) for name in kinds} == kinds
    assert all(captions[r.caption_id][r.char_start : r.char_end] == r.text for r in table.itertuples())
    assert list(table["tag_lemmas"][0]) == ["kite", "dune"]
    assert table["dup_of"].notna().sum() == 1 and set(table["weight"]) == {0.25, 1.0}


def test_what_is_missing_is_missing(out: Path) -> None:
    import pandas as pd

    images = pd.read_parquet(out / "builds/parquet/images")
    counts = images["status"].value_counts().to_dict()
    assert counts == {"ok": 15, "reject": 3, "partial": 1, "excluded": 1}
    assert images.loc[images["status"] == "ok", "reason"].isna().all()
    assert set(images["reason"].dropna()) == {
        "too_small",
        "undecodable",
        "repetition",
        "decontaminated",
        "empty_answer",
    }


def test_image_bytes_are_the_source_s(out: Path, expected: list[Any]) -> None:
    import pandas as pd

    table = pd.read_parquet(out / "builds/parquet/data", columns=["key", "image"]).set_index("key")["image"]
    assert all(table[e.key]["bytes"] == e.source for e in expected if e.jpeg) and len(table) == len(expected)
