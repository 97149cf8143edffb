"""The statistics and samples of the overview, read from the views.

A sample is a row with `key`, `captions` and `tags`, a list of (lemma, attributes). A caption is a row with
`generation`, `text`, `spans` (of its sub-captions) and `tags` (spans of the objects in them). Spans are half-open, in
code points.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recaption.inspect.paths import OutputPaths, footer
from recaption.inspect.sql import Row, fetch, fetch_rows, placeholders
from recaption.output.paths import INDEX

if TYPE_CHECKING:
    import duckdb


_USABLE = "status IN ('ok', 'partial')"
# Words per caption: median, and the 5 % and 95 % quantiles.
_WORDS = (
    "SELECT generation, first(source) AS source, count(*) AS captions, median(n_words) AS median, "
    "quantile_cont(n_words, 0.05) AS low, quantile_cont(n_words, 0.95) AS high "
    "FROM captions GROUP BY generation ORDER BY generation = 'raw', median DESC, 1"
)
# Tables are sorted by key: row groups without one of the keys are not read.
_CAPTIONS = """
WITH subs AS (
    SELECT caption_id, list((char_start, char_end) ORDER BY idx) AS spans
    FROM sub_captions WHERE key IN {keys} GROUP BY caption_id
), mentions AS (
    SELECT regexp_replace(sub_id, '#[0-9]+$', '') AS caption_id, list((char_start, char_end)) AS tags
    FROM objects WHERE key IN {keys} GROUP BY 1
)
SELECT key, generation, text, coalesce(spans, []) AS spans, coalesce(tags, []) AS tags
FROM captions LEFT JOIN subs USING (caption_id) LEFT JOIN mentions USING (caption_id) WHERE key IN {keys}
ORDER BY generation = 'raw', n_words DESC, caption_id
"""
_ANSWERED = (  # images; if a task asks several times about an image, it counts once
    "SELECT generation, CASE WHEN count(unit) = 0 THEN count(*) ELSE count(DISTINCT key) END "
    "FROM answers GROUP BY generation ORDER BY generation"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """A build in more detail than the counts of its manifest."""

    words: Sequence[Row]  # generation, source, captions, median, low, high: words per caption
    subs_per_image: Sequence[tuple[int, int]]  # (sub-captions, images that have so many), usable images only
    top_tags: Sequence[tuple[str, int]]
    samples: Sequence[Row]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunProgress:
    """A run that has no build yet, counted in images."""

    listed: int  # in the index so far
    answers: Sequence[tuple[str, int]]  # by generation
    rejects: Sequence[tuple[str, int]]  # by reason, most frequent first


def gather(connection: duckdb.DuckDBPyConnection, *, tags: int = 10, samples: int = 3) -> Statistics:
    """Read the `tags` most frequent tags and `samples` images of a build; the selection is deterministic."""

    def rows(sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return fetch(connection, sql, list(values))

    keys = rows(f"SELECT key FROM images WHERE {_USABLE} AND n_captions > 0 ORDER BY md5(key) LIMIT ?", samples)
    return Statistics(
        words=fetch_rows(connection, _WORDS),
        subs_per_image=rows(f"SELECT n_sub_captions, count(*) FROM images WHERE {_USABLE} GROUP BY ALL ORDER BY ALL"),
        top_tags=rows("SELECT lemma, count(*) AS n FROM objects GROUP BY ALL ORDER BY n DESC, lemma LIMIT ?", tags),
        samples=samples_of(connection, [key for (key,) in keys]),
    )


def samples_of(connection: duckdb.DuckDBPyConnection, keys: list[str]) -> list[Row]:
    """The samples of these images, in two queries: every query opens the footers of all shards."""
    if not keys:
        return []
    captions: dict[str, list[Row]] = defaultdict(list)
    for row in fetch_rows(connection, _CAPTIONS.format(keys=placeholders(keys)), keys * 3):
        captions[row.key].append(row)
    attributes: dict[str, dict[str, list[str]]] = defaultdict(dict)
    order = "regexp_replace(sub_id, '#[0-9]+$', ''), char_start, char_end, lemma"
    tags = f"SELECT key, lemma, attributes FROM objects WHERE key IN {placeholders(keys)} ORDER BY {order}"
    for key, lemma, some in fetch(connection, tags, keys):
        known = attributes[key].setdefault(lemma, [])
        known += [attribute for attribute in some or () if attribute not in known]
    return [Row(key=key, captions=captions[key], tags=list(attributes[key].items())) for key in keys]


def run_progress(connection: duckdb.DuckDBPyConnection, output: OutputPaths) -> RunProgress:
    """The progress of a run without a build."""
    return RunProgress(
        listed=listed(output),
        answers=fetch(connection, _ANSWERED),
        rejects=fetch(connection, "SELECT reason, count(*) AS n FROM rejects GROUP BY ALL ORDER BY n DESC, reason"),
    )


def listed(output: OutputPaths) -> int:
    """Images in a run's index. Raises DatasetError if a file of it cannot be read."""
    return sum(footer(file).num_rows for file in output.of_run(INDEX))
