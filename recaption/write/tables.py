"""Tables as Parquet files: encoding of columns, features for Hugging Face, the flat tables of a build, sidecars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recaption import schema
from recaption.io.outfile import Sink, outfile
from recaption.io.store import Store
from recaption.output.paths import table_file
from recaption.types import Reject
from recaption.write.columns import Columns, by_key

ROWS: Final = 122_880  # per row group of the flat tables, DuckDB's default; one shard is usually one group
NESTED_ROWS: Final = 4_096  # per row group of nested records: about 8 MB, which a loader reads for one row
_REPEATING: Final = frozenset(
    [
        *("shard", "split", "status", "reason", "stage", "generation", "source", "granularity", "finish_reason"),
        *("lang", "lemma", "label", "kind", "tag_lemmas", "attributes", "image_format", "source_format"),
    ]
)
_DTYPES: Final = {"double": "float64"}  # where Hugging Face's name differs from Arrow's


def leaves(schema: pa.Schema) -> Iterator[str]:
    """The column paths of Parquet, e.g. `captions.list.element.text`."""

    def below(path: str, kind: pa.DataType) -> Iterator[str]:
        if pa.types.is_struct(kind):
            for field in kind:
                yield from below(f"{path}.{field.name}", field.type)
        elif pa.types.is_list(kind):
            yield from below(f"{path}.list.element", kind.value_type)
        else:
            yield path

    for field in schema:
        yield from below(field.name, field.type)


@contextmanager
def file_writer(
    store: Store, path: str, schema: pa.Schema, *, sorted_by_key: bool = False
) -> Iterator[tuple[pq.ParquetWriter, Sink]]:
    """A writer of one Parquet file that appears whole or not at all; the caller chooses the row groups.

    zstd-1 (measured: as small as zstd-3 at 1.5 x the speed), dictionaries only where values repeat, a page index, and
    image bytes plain and uncompressed, as Hugging Face writes them, because they do not shrink and can be sliced.
    """
    columns = list(leaves(schema))
    plain = {name for name in columns if name == "image.bytes"}
    sorting = [pq.SortingColumn(schema.get_field_index("key"))] if sorted_by_key else None
    with outfile(store, path) as sink:
        writer = pq.ParquetWriter(
            sink,
            schema,
            compression={name: "NONE" if name in plain else "ZSTD" for name in columns},
            compression_level={name: 1 for name in columns if name not in plain},
            use_dictionary=[n for n in columns if n.removesuffix(".list.element").rpartition(".")[2] in _REPEATING],
            write_statistics=[name for name in columns if name not in plain],
            write_page_index=True,
            sorting_columns=sorting,
        )
        try:
            yield writer, sink
        except BaseException:
            with suppress(Exception):  # the file is discarded; writing its footer may fail, too
                writer.close()
            raise
        writer.close()


def write_table(store: Store, path: str, table: pa.Table, *, rows: int = ROWS, sorted_by_key: bool = False) -> Sink:
    """Write a table, which may be empty, to one file. Returns the closed sink, for its size and hash."""
    with file_writer(store, path, table.schema, sorted_by_key=sorted_by_key) as (writer, sink):
        writer.write_table(table, row_group_size=rows)
    return sink


def with_features(schema: pa.Schema) -> pa.Schema:
    """The schema with `datasets.Features` in its metadata, so that `load_dataset` restores images and lists.

    Lists are written as a JSON list around the element, which datasets 2 and 5 both read.
    """
    info = orjson.dumps({"info": {"features": features(schema)}})
    return schema.with_metadata({**(schema.metadata or {}), b"huggingface": info})


def features(schema: pa.Schema) -> dict[str, Any]:
    """`datasets.Features` of the columns, as JSON; a column `image` with bytes and path is an Image."""
    images = {field.name for field in schema if field.name == "image" and field.type.get_field_index("bytes") >= 0}
    return {f.name: {"_type": "Image"} if f.name in images else _feature(f.type) for f in schema}


def _feature(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return [_feature(kind.value_type)]
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    return {"dtype": _DTYPES.get(str(kind), str(kind)), "_type": "Value"}


def write_flat(
    store: Store,
    prefix: str,
    shard: str,
    columns: Columns,
    rejects: Sequence[Reject],
    custom: Mapping[str, pa.Table],
) -> dict[str, tuple[str, Sink, int]]:
    """Write `<prefix>/<table>/<shard>.parquet` for every flat table. Returns each table's path, closed sink and number
    of rows, by the table's name.

    images and rejects are in source order, the other tables sorted by key. Rows of `custom` about images that are not
    usable are left out.
    """
    usable = pa.array([record.key for record in columns.records if record.captions], pa.string())
    tables = {
        "images": columns.images(),
        "captions": columns.captions(),
        "sub_captions": columns.sub_captions(),
        "tags": columns.tags(),
        "rejects": pa.Table.from_pylist([asdict(reject) for reject in rejects], schema=schema.REJECTS),
        **{name: by_key(table.filter(pc.is_in(table["key"], usable))) for name, table in custom.items()},
    }
    written = {}
    for name, table in tables.items():
        path = table_file(name, shard)
        sink = write_table(store, f"{prefix}/{path}", table, sorted_by_key=name not in ("images", "rejects"))
        written[name] = (path, sink, table.num_rows)
    return written


def write_sidecar(store: Store, path: str, columns: Columns) -> Sink:
    """Write the rows of all records, including rejected ones, so that row i is sample i. Returns the closed sink."""
    table = columns.nested()
    return write_table(store, path, table.cast(with_features(table.schema)), rows=NESTED_ROWS)
