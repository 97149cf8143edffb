"""`recaption balance`: how often an epoch keeps each image, so that frequent objects do not dominate training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from recaption.balance import SCHEMA, About, metadata
from recaption.errors import UserError
from recaption.formatting import percent
from recaption.inspect.connection import open_outputs
from recaption.inspect.paths import find
from recaption.inspect.query import arrow_sql
from recaption.inspect.sql import fetch
from recaption.inspect.stoppable import closing
from recaption.inspect.summary import read_manifest
from recaption.inspect.writers import atomic_file
from recaption.output.paths import BALANCE

if TYPE_CHECKING:
    import duckdb

TAIL: Final = 0.1
"""Default share of the tail: that of `p_to_t` in metaclip/curation/curate.py."""
_POINTS: Final = 48  # of the curve
_USABLE: Final = "FROM images WHERE status IN ('ok', 'partial') AND split = 'train'"
# Each object of an image once. DuckDB spills temporary tables that do not fit into memory.
_NAMED: Final = f"""
CREATE TEMP TABLE named AS
SELECT DISTINCT key, coalesce(label, lemma) AS object FROM objects WHERE key IN (SELECT key {_USABLE})
"""
_COUNTS: Final = "CREATE TEMP TABLE counts AS SELECT object, count(*) AS n FROM named GROUP BY object"
# Rounded: a product depends on the order of its factors, and threads change it.
_KEEP: Final = """
CREATE TEMP TABLE keep AS
SELECT key, round(1 - product(1 - least(1.0, $t / n)), 6)::FLOAT AS p FROM named JOIN counts USING (object) GROUP BY key
"""
_AFTER: Final = """
SELECT any_value(n) AS before, sum(p) AS after FROM named JOIN counts USING (object) JOIN keep USING (key)
GROUP BY object ORDER BY before DESC, object
"""
_ROWS: Final = f"""
SELECT images.key, shard, coalesce(p, 0)::FLOAT AS p, md5_number_lower(images.key) AS draw
FROM (SELECT key, shard, "row" {_USABLE}) AS images LEFT JOIN keep USING (key) ORDER BY shard, "row"
"""


def tail_threshold(counts: npt.NDArray[np.int64], share: float) -> int:
    """t so that objects in at most t images have about this share of all mentions: `p_to_t` of MetaCLIP."""
    ordered = np.sort(counts)
    portion = np.cumsum(ordered) / ordered.sum()
    return int(ordered[np.abs(portion - share).argmin()])


def write_balance(
    path: str, file: Path | None, *, t: int | None = None, tail: float | None = None
) -> tuple[Path, About]:
    """Write the keep probabilities of a build's training images to `file`, by default `balance.parquet` in the output.

    `t`: objects in more images than this are thinned out. `tail`: instead of t, the share of rare objects that are not
    thinned out. Default: a tail of 0.1. Raises UserError for a build without objects, DatasetError as `connect` does.
    """
    output = find(path)
    manifest = read_manifest(output)
    folder = output.out.local("") if output.out else None
    if file is None and folder is None:
        raise UserError(f"{path} is not an output on this machine. Give a file with -o FILE")
    target = file or Path(str(folder)) / BALANCE
    with closing(open_outputs(output)) as connection:
        fetch(connection, _NAMED)
        fetch(connection, _COUNTS)
        counts = np.array([n for (n,) in fetch(connection, "SELECT n FROM counts")], np.int64)
        if not len(counts):
            raise UserError(
                f"no training image of {path} has an object in its captions, so there is nothing to balance"
            )
        t = tail_threshold(counts, TAIL if tail is None else tail) if t is None else t
        fetch(connection, _KEEP, {"t": t})
        about = _about(connection, manifest["build"], t, counts)
        _, batches = arrow_sql(connection, _ROWS)
        schema = SCHEMA.with_metadata(metadata(about))
        with atomic_file(target) as sink, pq.ParquetWriter(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch.cast(schema))
    return target, about


def _about(connection: duckdb.DuckDBPyConnection, build: str, t: int, counts: npt.NDArray[np.int64]) -> About:
    rows = fetch(connection, _AFTER)
    ranks = sorted({min(len(rows), max(1, round(len(rows) ** (n / (_POINTS - 1))))) for n in range(_POINTS)})
    ((images,),) = fetch(connection, f"SELECT count(*) {_USABLE}")
    ((kept, named),) = fetch(connection, "SELECT sum(p), count(*) FROM keep")
    return About(
        build=build,
        t=t,
        tail=round(float(counts[counts < t].sum() / counts.sum()), 6),
        objects=len(rows),
        head=int((counts > t).sum()),
        images=images,
        without_objects=images - named,
        kept=round(kept, 3),
        curve=[(rank, rows[rank - 1][0], round(rows[rank - 1][1], 2)) for rank in ranks],
    )


def lines(about: About) -> list[str]:
    """The balance as text."""
    first = about.curve[0]
    made = [
        f"t = {about.t:,}: objects in more than t images: {about.head:,} of {about.objects:,}; objects in fewer than t "
        f"images have {percent(about.tail)} of all mentions",
        f"an epoch keeps about {about.kept:,.0f} of {about.images:,} images",
        f"images with the most frequent object: {first[1]:,} before, about {first[2]:,.0f} after",
    ]
    if about.without_objects:
        made.append(f"images that name no object and are never kept: {about.without_objects:,}")
    return made
