"""The columns of Recap-DataComp-1B (huggingface.co/datasets/UCSC-VLAA/Recap-DataComp-1B, its card's dataset_info).

Its trainers draw org_caption or re_caption with a probability; lengths are in words. The columns with scores (clip,
gpt4v) are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from recaption.export.base import Exported, Options
from recaption.export.columns import export_table, table_problems
from recaption.export.dataset import Dataset
from recaption.problems import Problem

WRITES: Final = "Parquet with url, re_caption, org_caption, sha256, key, re_length, org_length"
READ_BY: Final = "programs that read Recap-DataComp-1B"
TEXTS: Final = {"org_caption": "raw", "re_caption": "long"}
_SCHEMA: Final = pa.schema(
    [pa.field(name, pa.string()) for name in ("url", "re_caption", "org_caption", "sha256", "key")]
    + [pa.field(name, pa.int64()) for name in ("re_length", "org_length")]
)


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. A row without an original caption has "" in that column, as in the dataset."""

    def columns(images: pa.Table, old: pa.ChunkedArray, new: pa.ChunkedArray) -> dict[str, Any]:
        about = {"url": pc.fill_null(images["url"], ""), "sha256": images["sha256"], "key": images["key"]}
        return {**about, "re_caption": new, "org_caption": old, "re_length": _words(new), "org_length": _words(old)}

    return export_table(dataset, dest, options, _SCHEMA, TEXTS, columns)


def _words(texts: pa.ChunkedArray) -> list[int]:
    return [len(text.split()) for text in texts.to_pylist()]


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`."""
    yield from table_problems(path, ("re_caption",), ("url", "org_caption", "sha256", "key"))
