"""The flat tables of a build, for DuckDB: it prunes columns of a flat table, but not inside LIST<STRUCT>."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import pyarrow as pa

from recaption import schema
from recaption.store import Store
from recaption.types import Reject
from recaption.write.columns import Columns
from recaption.write.outfile import Sink
from recaption.write.tables import write_table

TABLES: Final = ("images", "captions", "sub_captions", "tags", "rejects")


def write_flat(
    store: Store, prefix: str, shard: str, columns: Columns, rejects: Sequence[Reject]
) -> dict[str, tuple[str, Sink, int]]:
    """Write `<prefix>/<table>/<shard>.parquet` of every flat table. Returns path, closed sink and rows by table.

    images and rejects are in source order, the others sorted by key.
    """
    tables = {
        "images": columns.images(),
        "captions": columns.captions(),
        "sub_captions": columns.sub_captions(),
        "tags": columns.tags(),
        "rejects": pa.Table.from_pylist([asdict(reject) for reject in rejects], schema=schema.REJECTS),
    }
    written = {}
    for name, table in tables.items():
        path = f"{name}/{shard}.parquet"
        sink = write_table(store, f"{prefix}/{path}", table, sorted_by_key=name in ("captions", "sub_captions", "tags"))
        written[name] = (path, sink, table.num_rows)
    return written
