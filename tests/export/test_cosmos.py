"""COSMOS."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import trainers
from samples import jpeg, write_tar

from recaption.export.flair import LISTS

GOOD = {name: [f"{name} one", f"{name} two"] for name in LISTS}


def foreign_tar(tmp_path: Path, *bodies: Any, sizes: Any = True, **members: bytes | None) -> Path:
    """A tar with one sample per json body, and sizes.json; `members` replaces members, or removes them (None)."""
    folder = tmp_path / f"foreign-{len(list(tmp_path.glob('foreign-*')))}"
    samples = []
    for n, body in enumerate(bodies):
        parts = {"jpg": jpeg(n), "txt": b"a text", "json": json.dumps(body).encode(), **members}
        samples.append({f"s{n}.{suffix}": data for suffix, data in parts.items() if data is not None})
    write_tar(folder / "00000.tar", samples)
    if sizes is True:
        sizes = {"00000.tar": len(bodies)}
    if sizes is not None:
        (folder / "sizes.json").write_text(json.dumps(sizes))
    return folder


def test_a_mode_that_divides_by_zero_is_a_warning(tmp_path: Path, problems: Any) -> None:
    body = {**GOOD, "raw_caption": []}
    folder = foreign_tar(tmp_path, body)
    with pytest.raises(ZeroDivisionError):
        trainers.cosmos(trainers.tar_samples(folder)[0], "raw", random.Random(0))
    assert problems("cosmos", folder) == {"no text for mode raw": "warning"}
    assert problems("flair", folder) == {}
