"""Reads the Parquet files of an output: answers, rejects and indexes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from recaption.errors import DatasetError
from recaption.io.store import Store
from recaption.output import paths
from recaption.schema import check_version
from recaption.tablefile import read_table


def read_stored(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """The table in a file of an output, or these of its columns.

    Raises DatasetError as `readable` does, and for a file that this version cannot read; FileNotFoundError; StoreError.
    """
    return table_in(store, path, store.get(path), columns)


def table_in(store: Store, path: str, data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """As `read_stored`, for a file whose bytes have been read."""
    with readable(store, path):
        table = read_table(pa.BufferReader(data), columns)
    check_version(table.schema, path)
    return table


@contextmanager
def readable(store: Store, path: str) -> Iterator[None]:
    """Raises DatasetError, with advice, if Arrow cannot read the file in this block: it is cut off or overwritten."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the file system; Arrow's own errors have no number
        raise DatasetError(
            f"{store.url}/{path} is damaged: {str(error).rstrip('.')}. {_advice(store, path)}"
        ) from error


def _advice(store: Store, path: str) -> str:
    restore = "Restore it from a copy of the output. If there is none,"
    if not path.startswith(tuple(f"{kind}/" for kind in paths.STORED)) or f"/{paths.SOURCE}/" in path:
        return f"{restore} delete it: the source shard is then listed again, and all stored answers are kept"
    last = _last_compacted(store, path)
    # Readers find the files of a shard by their numbers, up to the first that is missing.
    remove = "delete it" if last == path else f"move {last} to its place"
    asked = "only the requests whose answers it had are then sent again. Then run recaption build PIPELINE --again"
    return f"{restore} {remove}: {asked}"


def _last_compacted(store: Store, path: str) -> str:
    """The last of the compacted files of the same shard; `path` itself if it is a part."""
    kind, generation, name = path.split("/", 2)
    shard = paths.compacted_shard(path)
    if "/" in name:
        return path
    number = 0
    while store.exists(paths.compacted_file(kind, generation, shard, number + 1)):
        number += 1
    return paths.compacted_file(kind, generation, shard, number)
