"""Parquet files with text columns: writes them, and checks those of other programs."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recaption.errors import RecaptionError
from recaption.export.base import (
    Exported,
    Finding,
    Options,
    begin,
    described,
    found_in,
    named,
    one_text,
    rotated,
    shards,
)
from recaption.export.dataset import Dataset
from recaption.export.unfinished import removed_on_failure
from recaption.io import files
from recaption.problems import Problem
from recaption.write.tables import file_writer

_ROWS = 10_000  # of a row group, which is held in memory


def export_table(
    dataset: Dataset,
    dest: str,
    options: Options,
    target: pa.Schema,
    texts: Mapping[str, str],
    columns: Callable[[pa.Table, pa.ChunkedArray, pa.ChunkedArray], Mapping[str, Any]],
) -> Exported:
    """Write `<dest>/data/train-00000-of-00012.parquet`, …, which Hugging Face's `load_dataset` reads as a split.

    One file per shard of the build, or per `options.samples_per_shard` rows, with the columns of `target`. `texts` has
    the granularities of two columns: the original caption and the new one; a sample without a new caption is left out.
    `columns` makes the columns (arrays or lists) of a shard from three inputs: the rows of `images` of its samples,
    their original captions ("" if there is none), and their new captions.
    """
    sources = one_text(dataset, texts, options)
    original, new = sources.values()
    store = begin(dataset, dest, options)
    left_out: Counter[str] = Counter()
    written = 0
    split = {"val": "validation"}.get(options.split, "train")
    size = options.samples_per_shard

    def tables() -> Iterator[pa.Table]:
        for shard in shards(dataset, options):
            images, found = dataset.texts(shard, options.split, sources.values())
            has_new = pc.is_valid(found[new])
            if missing := len(images) - pc.sum(has_new).as_py():
                left_out[f"no text of {new}"] += missing
            old = pc.fill_null(found[original], "")
            made = columns(images.filter(has_new), old.filter(has_new), found[new].filter(has_new))
            yield pa.table([_column(made[field.name], field.type) for field in target], schema=target)

    count, parts = len(dataset.shards), tables()
    if size:  # the number of files is in their names, so the rows are counted before they are written
        count, parts = max(1, math.ceil(sum(map(len, tables())) / size)), _of_size(tables(), size)
        left_out.clear()
    with removed_on_failure(store):
        for number, part in enumerate(parts):
            with file_writer(store, f"data/{split}-{number:05d}-of-{count:05d}.parquet", target) as (writer, _):
                for start in range(0, len(part) + 1, _ROWS):
                    writer.write_table(part.slice(start, _ROWS).combine_chunks())
            written += len(part)
    notes = (described(sources), *rotated(dataset))
    return Exported(samples=written, files=count, left_out=left_out, notes=notes)


def _column(values: Any, kind: pa.DataType) -> Any:
    return values.cast(kind) if isinstance(values, pa.ChunkedArray) else pa.array(values, kind)


def _of_size(tables: Iterator[pa.Table], size: int) -> Iterator[pa.Table]:
    """The rows in tables of `size`; the last one has the rest, and there is at least one."""
    rest = next(tables)
    for table in tables:
        while len(rest) >= size:
            yield rest.slice(0, size)
            rest = rest.slice(size)
        rest = pa.concat_tables([rest, table])
    for start in range(0, max(len(rest), 1), size):
        yield rest.slice(start, size)


def table_problems(path: str, texts: Sequence[str], others: Sequence[str]) -> Iterator[Problem]:
    """The problems of the Parquet files at `path`: missing or mistyped columns, empty texts, duplicate keys in a file.

    `texts` must have values, `others` may be null.
    """
    for file in named(files.absolute(path), ".parquet", ("", "data")):
        try:
            with files.open_stream(file, sequential=False) as opened, pq.ParquetFile(opened) as table:
                yield from _file_problems(file, table, texts, others)
        except (pa.ArrowException, RecaptionError, OSError) as error:
            yield from found_in(file, [(str(error), "Write the file again", "broken file")])


def _file_problems(file: str, table: pq.ParquetFile, texts: Sequence[str], others: Sequence[str]) -> Iterator[Problem]:
    schema = table.schema_arrow
    wanted = (*texts, *others)
    for name in wanted:
        kind = schema.field(name).type if name in schema.names else None
        if kind is None or not (
            pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        ):
            what = f"column {name} is {'missing' if kind is None else kind}"
            advice = f"Write a string column; readers look for {', '.join(wanted)}"
            yield from found_in(file, [(what, advice, f"column {name}")])
            return
    seen: set[int] = set()
    columns = [*texts, *(["key"] if "key" in wanted else [])]
    batches = table.iter_batches(batch_size=2048, columns=columns, use_threads=False)
    for number, row in enumerate(row for batch in batches for row in batch.to_pylist()):
        yield from found_in(f"{file}: row {number}", _row_findings(row, texts, seen))


def _row_findings(row: dict[str, Any], texts: Sequence[str], seen: set[int]) -> Iterator[Finding]:
    """`seen` has the hashes of the keys of earlier rows."""
    empty = [name for name in texts if not (row[name] or "").strip()]
    if empty:
        advice = "Leave the row out: trainers tokenise these texts without a check"
        yield f"{', '.join(empty)} is null or empty", advice, "empty text"
    if "key" in row:
        if hash(row["key"]) in seen:
            advice = "Give every row a unique key: joins by key would pair wrong texts"
            yield f"key {row['key']!r} occurs twice", advice, "duplicate key"
        seen.add(hash(row["key"]))
