"""Adds a generation with `task: verify` and its table to a finished build, as a build with such a task has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from writing import write_manifest

from recaption import schema
from recaption.io.store import LocalStore
from recaption.tasks.base import TableSpec
from recaption.tasks.verify import VERIFICATIONS
from recaption.types import Generation, Sampling
from recaption.write.entry import FileEntry, GenerationCounts, ShardEntry
from recaption.write.tables import write_table

Row = dict[str, Any]
CHECK = Generation(
    id="check",
    model="judge",
    granularity=None,
    fingerprint="00000000000000c1",
    prompt="is_it_true",
    sampling=Sampling(max_tokens=1),
    task="verify",
    over=("long",),
)


def verification(sub: Row, p_true: float, generation: str = "check") -> Row:
    """The row of the table about a row of sub_captions."""
    row = {"key": sub["key"], "generation": generation, "sub_id": sub["sub_id"], "model": "judge"}
    return row | {"prompt": "is_it_true", "p_true": p_true, "coverage": 0.9, "likelihood": None}


def generation_of(data: Row) -> Generation:
    """The generation of an entry in a manifest."""
    sampling = data["sampling"] and Sampling(**data["sampling"] | {"stop": tuple(data["sampling"]["stop"])})
    names = ("id", "model", "fingerprint", "prompt", "column")
    return Generation(granularity=data["kind"], sampling=sampling, **{name: data[name] for name in names})


def add_table(
    build: Path,
    rows_of: Callable[[list[Row]], list[Row]],
    *,
    spec: TableSpec = VERIFICATIONS,
    generations: Sequence[Generation] = (CHECK,),
) -> dict[str, Any]:
    """Write the table with the rows that `rows_of` makes of the sub-captions of each shard. Returns the manifest."""
    manifest, store = orjson.loads((build / "manifest.json").read_bytes()), LocalStore(build.parent.parent)
    prefix = f"{build.parent.name}/{build.name}"
    entries = []
    for entry in map(ShardEntry.from_json, manifest["shards"]):
        subs = pq.read_table(build / f"sub_captions/{entry.name}.parquet").to_pylist()
        rows = rows_of(subs)
        table = pa.Table.from_pylist(rows, schema=schema.task_table(spec.name, spec.columns))
        path = f"{spec.name}/{entry.name}.parquet"
        sink = write_table(store, f"{prefix}/{path}", table, sorted_by_key=True)
        file = FileEntry(path=path, table=spec.name, split=None, rows=len(rows), bytes=sink.size, sha256=sink.sha256())
        counted = {
            g.id: GenerationCounts(asked=n, answered=n, skipped=1, unanswered=2)
            for g in generations
            for n in [sum(row["generation"] == g.id for row in rows)]
        }
        entries.append(replace(entry, files=(*entry.files, file), generations={**entry.generations, **counted}))
    return write_manifest(
        store,
        prefix,
        shards=entries,
        image_mode=manifest["images"] or "jpeg",
        generations=[*map(generation_of, manifest["generations"]), *generations],
        tables=[spec],
        **{name: manifest[name] for name in ("name", "build", "format", "require", "primary", "sampling")},
        **{name: manifest[name] for name in ("tokenizers", "provenance", "holdout", "pixels") if name in manifest},
    )


def verify_long(build: Path, p_true: Callable[[Row], float] = lambda sub: 0.9) -> dict[str, Any]:
    """Verify all sub-captions of `long`."""
    return add_table(build, lambda subs: [verification(s, p_true(s)) for s in subs if s["generation"] == "long"])
