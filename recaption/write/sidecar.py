"""Shards beside the source's own: the nested record, one row per source sample in source order, no pixels."""

from __future__ import annotations

from recaption.io.outfile import Sink
from recaption.io.store import Store
from recaption.write.columns import Columns
from recaption.write.tables import NESTED_ROWS, with_features, write_table


def write_sidecar(store: Store, path: str, columns: Columns) -> Sink:
    """Write the rows of all records, rejected ones too, so that row i is sample i. Returns the closed sink."""
    table = columns.nested()
    return write_table(store, path, table.cast(with_features(table.schema)), rows=NESTED_ROWS)
