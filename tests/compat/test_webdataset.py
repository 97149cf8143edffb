"""webdataset itself: the oldest that open_clip takes, the one that img2dataset brings, the newest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("version", ["0.2.86", "installed", "1.0.2"])
def test_every_sample_comes_in_order_with_its_texts_and_pixels(
    read_with: Callable[[str], dict[str, Any]], expected: list[Any], version: str
) -> None:
    found = read_with(version)["webdataset"]
    assert version in ("installed", found["version"])
    for split in ("train", "val"):
        wanted = [e for e in expected if e.split == split]
        assert [s["key"] for s in found[split]] == [e.key for e in wanted] and wanted
        for sample, want in zip(found[split], wanted, strict=True):
            assert sample["names"] == ["jpg", "json", "txt"]
            assert sample["txt"] == want.primary
            assert sample["texts"] == want.texts
            flat = {"raw_caption" if name == "raw" else f"caption_{name}": text for name, text in want.texts.items()}
            assert sample["flat"] == flat
            assert sample["pixels"] == want.pixels or not want.jpeg
            assert sample["pixels"].startswith("64x48-")
