"""Parquet files read in the calling thread.

By default, pyarrow reads with its own threads. If a short-lived process (a command, a worker of a loader or Ray) ends
while they start, the interpreter aborts ("terminate called without an active exception"). So all of recaption reads
with this function, or with `use_threads=False` (a test over the source files checks this).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def read_table(source: Any, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a Parquet file (a path, a buffer or an open file), with `columns` in the order given, or with all.

    Raises pa.ArrowException and OSError for a file that cannot be read; pa.ArrowInvalid for a column that it lacks.
    """
    with pq.ParquetFile(source, pre_buffer=False) as file:
        if columns is None:
            return file.read(use_threads=False)
        if lacking := [name for name in columns if name not in file.schema_arrow.names]:
            raise pa.ArrowInvalid(
                f"no column {', '.join(lacking)}; its columns are {', '.join(file.schema_arrow.names)}"
            )
        return file.read(columns=list(columns), use_threads=False).select(list(columns))
