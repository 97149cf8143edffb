"""Parquet files with text columns: writes them, and checks those of other programs."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
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
    removed_on_failure,
    rotated,
)
from recaption.export.dataset import Dataset
from recaption.io import files
from recaption.problems import Problem
from recaption.types import Record
from recaption.write.entry import ShardEntry
from recaption.write.tables import file_writer

_ROWS = 10_000  # of a row group, which is held in memory


def export_table(
    dataset: Dataset,
    dest: str,
    options: Options,
    target: pa.Schema,
    texts: Mapping[str, str],
    row: Callable[[Record, str, str], dict[str, Any]],
) -> Exported:
    """Write `<dest>/data/train-00000-of-00012.parquet`, …, which Hugging Face's `load_dataset` reads as a split.

    One file per shard of the build, or per `options.samples_per_shard` rows, with the columns of `target`. `texts` has
    the granularities of two columns: the original caption and the new one. `row` makes a row of a record, its original
    caption ("" if it has none) and its new caption; a record without a new caption is left out.
    """
    sources = one_text(dataset, texts, options)
    original, new = sources.values()
    store = begin(dataset, dest, options)
    left_out: Counter[str] = Counter()
    written = 0
    split = {"val": "validation"}.get(options.split, "train")
    size = options.samples_per_shard

    def rows(shards: Sequence[ShardEntry]) -> Iterator[dict[str, Any]]:
        for shard in shards:
            options.progress(dataset.shards.index(shard), len(dataset.shards))
            for record in dataset.records(shard, options.split):
                found = record.texts()
                if new in found:
                    yield row(record, found.get(original, ""), found[new])
                else:
                    left_out[f"no text of {new}"] += 1

    # The number of files is in their names: with a size, the rows are counted before they are written.
    total = sum(1 for _ in rows(dataset.shards)) if size else 0
    left_out.clear()
    parts: list[Iterator[dict[str, Any]]]
    if size:
        all_rows = rows(dataset.shards)
        parts = [itertools.islice(all_rows, size) for _ in range(max(1, math.ceil(total / size)))]
    else:
        parts = [rows([shard]) for shard in dataset.shards]
    with removed_on_failure(store):
        for number, part in enumerate(parts):
            path = f"data/{split}-{number:05d}-of-{len(parts):05d}.parquet"
            with file_writer(store, path, target) as (writer, _):
                while True:
                    group = list(itertools.islice(part, _ROWS))
                    writer.write_table(pa.Table.from_pylist(group, schema=target))
                    written += len(group)
                    if len(group) < _ROWS:
                        break
    options.progress(len(dataset.shards), len(dataset.shards))
    notes = (described(sources), *rotated(dataset))
    return Exported(samples=written, files=len(parts), left_out=left_out, notes=notes)


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
