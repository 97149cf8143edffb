"""The flat tables of a build, for DuckDB: it prunes columns of a flat table, but not inside LIST<STRUCT>."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pyarrow as pa
import pyarrow.compute as pc

from recaption import schema
from recaption.io.outfile import Sink
from recaption.io.store import Store
from recaption.types import Reject
from recaption.write.columns import Columns, by_key
from recaption.write.tables import write_table


def write_flat(
    store: Store,
    prefix: str,
    shard: str,
    columns: Columns,
    rejects: Sequence[Reject],
    own: Mapping[str, pa.Table],
) -> dict[str, tuple[str, Sink, int]]:
    """Write `<prefix>/<table>/<shard>.parquet` of every flat table. Returns path, closed sink and rows by table.

    images and rejects are in source order, the others sorted by key. Of `own`, rows of images that are not usable (any
    more) are left out.
    """
    usable = pa.array([record.key for record in columns.records if record.captions], pa.string())
    tables = {
        "images": columns.images(),
        "captions": columns.captions(),
        "sub_captions": columns.sub_captions(),
        "tags": columns.tags(),
        "rejects": pa.Table.from_pylist([asdict(reject) for reject in rejects], schema=schema.REJECTS),
        **{name: by_key(table.filter(pc.is_in(table["key"], usable))) for name, table in own.items()},
    }
    written = {}
    for name, table in tables.items():
        path = f"{name}/{shard}.parquet"
        sink = write_table(store, f"{prefix}/{path}", table, sorted_by_key=name not in ("images", "rejects"))
        written[name] = (path, sink, table.num_rows)
    return written
