"""Concept balance, `balance.parquet`: the layout of the file. `recaption balance` writes it, the loader reads it.

The file has a row for each usable training image, sorted by shard and row: `p` is the probability that an epoch keeps
the image, and `draw` a hash of its key. Its metadata has an `About` as JSON.

MetaCLIP (Xu et al., arXiv 2309.16671; facebookresearch/MetaCLIP, metaclip/metaclip1/balancing.py and
metaclip/curation/curate.py at f47f784) keeps a text if at least one of its entries keeps it; an entry does so with
probability min(1, t / count). Here, an entry is an object, and a text is an image with all of its captions.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from recaption.errors import DatasetError

"""The default name of the file, in the output's folder."""
SCHEMA: Final = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("shard", pa.string(), nullable=False),
        pa.field("p", pa.float32(), nullable=False),
        pa.field("draw", pa.uint64(), nullable=False),
    ]
)
_KEY: Final = b"recaption.balance"


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """Facts about a file. `curve` has points (rank, images before, images after) of the objects by frequency: images
    that name the object, and the expected number of them that an epoch keeps."""

    build: str
    t: int  # objects in fewer images are the tail
    tail: float  # share of the tail in all mentions, each object of an image counted once
    objects: int
    head: int  # objects in more than t images
    images: int
    without_objects: int  # images that are never kept
    kept: float  # expected images of an epoch
    curve: Sequence[tuple[int, int, float]]


def metadata(about: About) -> dict[bytes, bytes]:
    return {_KEY: json.dumps(asdict(about)).encode()}


def read_about(parquet: pq.ParquetFile, path: str) -> About:
    """Raises DatasetError for another file."""
    try:
        found = json.loads((parquet.schema_arrow.metadata or {})[_KEY])
        return About(**found | {"curve": [tuple(point) for point in found["curve"]]})
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} is not a file of recaption balance. Make it with: recaption balance OUT") from error
