"""Tars as other programs write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from samples import jpeg, write_tar

from recaption.export.formats.flair import LISTS

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
