"""Shards in Parquet form: nested records with image bytes, as expected by Hugging Face's viewer and `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from recaption import schema
from recaption.io.outfile import Sink
from recaption.io.store import Store
from recaption.types import Record
from recaption.write.columns import Columns, record_arrays, table_of
from recaption.write.tables import NESTED_ROWS, file_writer, with_features
from recaption.write.transcode import Stored

GROUP_BYTES: Final = 60_000_000
"""Image bytes of a row group; with the texts it stays below 64 MB. Groups of 1,000 images made viewers run out of
memory (huggingface/dataset-viewer#1957)."""


class RowWriter:
    """Appends samples to one file, one row group at a time; memory holds one row group."""

    def __init__(self, writer: pq.ParquetWriter, target: pa.Schema, columns: Columns) -> None:
        self._writer, self._target, self._columns = writer, target, columns
        self._positions = {record.key: at for at, record in enumerate(columns.records)}
        self._group: list[tuple[Record, Stored]] = []
        self._held = 0

    def add(self, record: Record, image: Stored) -> None:
        if self._held + len(image.data) > GROUP_BYTES or len(self._group) == NESTED_ROWS:
            self.flush()
        self._group.append((record, image))
        self._held += len(image.data)

    def flush(self) -> None:
        """Write the buffered records as one row group."""
        if self._group:
            self._writer.write_table(self._table(), row_group_size=len(self._group))
        self._group, self._held = [], 0

    def _table(self) -> pa.Table:
        records, images = zip(*self._group, strict=True)
        positions = pa.array([self._positions[record.key] for record in records], pa.int32())
        stored = pa.StructArray.from_arrays(
            [
                pa.array([image.data for image in images], pa.binary()),
                pa.array([f"{record.key}.{image.suffix}" for record, image in self._group], pa.string()),
            ],
            fields=list(self._target.field("image").type),
        )
        made = {
            **record_arrays(records),
            "captions": self._columns.record_captions.take(positions),
            "image": stored,
            "image_format": pa.array([image.format for image in images], pa.string()),
            "image_sha256": pa.array([image.sha256 for image in images], pa.string()),
            "source_format": pa.array([image.source_format for image in images], pa.string()),
        }
        return table_of(made, self._target)


@contextmanager
def parquet_writer(store: Store, path: str, columns: Columns) -> Iterator[tuple[RowWriter, dict[str, Sink]]]:
    """A writer of `path`, for records that have their captions in `columns`, in any order.

    If the block ends without an error, the file exists and the dict has its sink.
    """
    target = with_features(schema.records(columns.tokenizers, image=True))
    sinks: dict[str, Sink] = {}
    with file_writer(store, path, target) as (writer, sink):
        rows = RowWriter(writer, target, columns)
        yield rows, sinks
        rows.flush()
    sinks[path] = sink
