"""timm's webdataset reader: it finds the splits and their sizes in `_info.json`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize("version", ["0.2.86", "1.0.2"])
def test_both_splits_come_in_order_with_their_pixels(
    read_with: Callable[[str], dict[str, Any]], expected: list[Any], version: str
) -> None:
    found = read_with(version)["timm"]
    for split in ("train", "val"):
        wanted = [e for e in expected if e.split == split]
        assert found[f"{split}_size"] == len(wanted) > 0
        assert [s["row"] for s in found[split]] == [e.row for e in wanted]
        assert all(s["pixels"] == e.pixels for s, e in zip(found[split], wanted, strict=True) if e.jpeg)
    assert found["training"] == sorted(e.row for e in expected if e.split == "train")
