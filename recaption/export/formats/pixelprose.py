"""The columns of PixelProse (huggingface.co/datasets/tomg-group-umd/pixelprose, its card, "Dataset features").

Its scores (toxicity, watermark, aesthetics) are left out; `status` is always "success"; `uid` is the first half of the
image's sha256. FLAIR (--pixelprose) and COSMOS (*_pixelprose) read `original_caption`, and vlm_caption as `caption`,
from tars that img2dataset makes from these files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from recaption.export.base import Exported, Options, one_text
from recaption.export.columns import export_table, table_problems
from recaption.export.dataset import Dataset
from recaption.problems import Problem

WRITES: Final = "Parquet with uid, url, key, status, original_caption, vlm_model, vlm_caption, width, height, sha256"
READ_BY: Final = "programs that read PixelProse"
TEXTS: Final = {"original_caption": "raw", "vlm_caption": "long"}
_STRINGS: Final = ("uid", "url", "key", "status", "original_caption", "vlm_model", "vlm_caption")
_SCHEMA: Final = pa.schema(
    [pa.field(name, pa.string()) for name in _STRINGS]
    + [pa.field(name, pa.int64()) for name in ("width", "height")]
    + [pa.field("sha256", pa.string())]
)


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. A row without an original caption has "" in that column."""
    generation = one_text(dataset, TEXTS, options)["vlm_caption"]
    model = {g["id"]: g["model"] for g in dataset.manifest["generations"]}.get(generation, "")
    known = dataset.manifest["provenance"].get("models", {}).get(model) or {}

    def columns(images: pa.Table, old: pa.ChunkedArray, new: pa.ChunkedArray) -> dict[str, Any]:
        return {
            "uid": pc.utf8_slice_codeunits(images["sha256"], 0, 32),
            "url": pc.fill_null(images["url"], ""),
            "status": ["success"] * len(images),
            "original_caption": old,
            "vlm_model": [known.get("model") or model] * len(images),
            "vlm_caption": new,
            **{name: images[name] for name in ("key", "width", "height", "sha256")},
        }

    return export_table(dataset, dest, options, _SCHEMA, TEXTS, columns)


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`."""
    yield from table_problems(path, ("vlm_caption",), ("uid", "url", "key", "status", "original_caption", "vlm_model"))
