"""The data files against the flat tables: the same samples in the same order, the same captions, value by value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from recaption import schema
from recaption.problems import Problem
from recaption.validate.kinds import problem
from recaption.validate.shard import USABLE, Shard
from recaption.write.columns import by_key

_NOT_NESTED = frozenset({"n_words", "n_sub_captions"})  # of captions: counted for the flat table only


def check_data(shard: Shard) -> Iterator[Problem]:
    """Samples of each data file, then captions, sub-captions and tags of all of them."""
    if set(shard.found) != {file["split"] for file in shard.entry["files"] if file["table"] == "data"}:
        return  # a file could not be read to its end, which was said
    written = shard.tables["images"].column_names
    columns = [name for name in schema.IMAGES.names if name in written and not name.startswith("n_")]
    agree = True
    for split, records in shard.found.items():
        where = f"data of shard {shard.name}{f', {split}' if split else ''}"
        expected = shard.tables["images"].select(columns)
        if split is not None:  # a sidecar has rejected samples too
            usable = pc.is_in(expected["status"], pa.array(USABLE))
            expected = expected.filter(pc.and_(usable, pc.equal(expected["split"], split)))
        for wrong in _difference(records.select(columns), expected, where, "images"):
            agree = False
            yield wrong
    if not agree:
        return
    for name, table in flatten(pa.concat_tables(shard.found.values()), shard.tokenizers).items():
        columns = [column for column in table.column_names if column in shard.tables[name].column_names]
        expected = by_key(shard.tables[name].select(columns))  # files of an earlier version lack some
        yield from _difference(table.select(columns), expected, f"data of shard {shard.name}", name)


def flatten(records: pa.Table, tokenizers: Sequence[str]) -> dict[str, pa.Table]:
    """captions, sub_captions and tags of nested records, with the columns of the flat tables; sorted by key."""
    nested = _array(records["captions"])
    captions = _below(nested, records.select(["key", "shard", "split"]))
    subs = _below(_array(captions["sub_captions"]), captions.select(_shared(schema.CAPTIONS)))
    tags = _below(_array(subs["tags"]), subs.select(["sub_id", "key"]))
    made = {"captions": (captions, schema.CAPTIONS), "tags": (tags, schema.TAGS)}
    made["sub_captions"] = (subs, schema.sub_captions(tokenizers))
    return {
        name: by_key(table.select([n for n in target.names if n in table.column_names]))
        for name, (table, target) in made.items()
    }


def _shared(captions: pa.Schema) -> list[str]:
    """Columns that a sub-caption's row has from its caption."""
    own = {"text", "lang"}
    return [name for name in captions.names if name in schema.sub_captions().names and name not in own | _NOT_NESTED]


def _array(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _below(lists: pa.Array, above: pa.Table) -> pa.Table:
    """A row per element: its fields, and the columns of the row that its list stands in."""
    items = pc.list_flatten(lists)
    columns = {field.name: pc.struct_field(items, field.name) for field in items.type}
    parents = above.take(pc.list_parent_indices(lists))
    return pa.table({**{name: parents[name] for name in above.column_names}, **columns})


def _difference(found: pa.Table, expected: pa.Table, where: str, name: str) -> Iterator[Problem]:
    """The first row that differs."""
    if found.num_rows != expected.num_rows:
        missing = set(expected["key"].to_pylist()) ^ set(found["key"].to_pylist())
        what = f"has {found.num_rows:,} rows, the table {name} {expected.num_rows:,}"
        yield problem("data", where, what + (f"; only one of them has {min(missing, key=str)}" if missing else ""))
        return
    for column in expected.column_names:
        if found[column].equals(expected[column]):
            continue
        pairs = zip(found[column].to_pylist(), expected[column].to_pylist(), strict=True)
        differ = ((row, a, b) for row, (a, b) in enumerate(pairs) if a != b and (a == a or b == b))
        row, a, b = next(differ, (0, None, None))
        if a is None and b is None:
            continue  # nothing but numbers that are none, which is said of their column
        place = expected["sub_id" if name == "tags" else "key"][row].as_py()
        yield problem("data", f"{where}, {place}", f"{column} is {a!r}; the table {name} has {b!r}")
        return
