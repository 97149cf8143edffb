"""Values of the columns: closed lists, patterns and bounds, taken from the JSON Schemas of the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recaption.problems import Problem
from recaption.schema import FLAT
from recaption.validate.kinds import problem
from recaption.validate.manifest import json_schema
from recaption.validate.shard import Shard


def check_values(shard: Shard) -> Iterator[Problem]:
    """Of every flat table; the first bad value of a column, and how many there are."""
    for name, table in shard.tables.items():
        rules_of = json_schema(f"{name}.schema.json")["properties"] if name in FLAT else {}
        for column, rules in rules_of.items():
            if column in table.column_names:
                yield from _check(table, column, rules, shard.path(name))
        for column in table.column_names:
            if column.startswith("n_tokens_"):
                yield from _check(table, column, {"minimum": 2}, shard.path(name))


def _check(table: pa.Table, column: str, rules: dict[str, Any], path: str) -> Iterator[Problem]:
    values = table[column]
    bad = []
    if "enum" in rules:
        allowed = pa.array([v for v in rules["enum"] if v is not None], pa.string())
        bad.append(pc.invert(pc.is_in(values, allowed)))
    if "pattern" in rules:
        bad.append(pc.invert(pc.match_substring_regex(values, rules["pattern"])))
    if "minimum" in rules:
        bad.append(pc.less(values, rules["minimum"]))
    if "maximum" in rules:
        bad.append(pc.or_(pc.greater(values, rules["maximum"]), pc.is_nan(values)))
    for wrong in bad:
        rows = pc.indices_nonzero(pc.and_(pc.fill_null(wrong, False), pc.is_valid(values)))
        if len(rows):
            row = rows[0].as_py()
            what = f"column {column} is {values[row].as_py()!r}"
            more = f", and bad in {len(rows) - 1:,} more rows" if len(rows) > 1 else ""
            yield problem("value", f"{path}, row {row}", what + more)
