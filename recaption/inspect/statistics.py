"""The statistics and samples of the overview, read from the views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recaption.inspect.paths import OutputPaths, footer
from recaption.inspect.sql import fetch, placeholders
from recaption.output.paths import INDEX

if TYPE_CHECKING:
    import duckdb


_USABLE = "status IN ('ok', 'partial')"
_ANSWERED = (  # images: of a task that asks several times about an image, those with an answer
    "SELECT generation, CASE WHEN count(unit) = 0 THEN count(*) ELSE count(DISTINCT key) END "
    "FROM answers GROUP BY generation ORDER BY generation"
)


@dataclass(frozen=True, slots=True)
class WordCounts:
    """Words per caption of one generation: median, and the range of the middle 90 %."""

    generation: str
    source: str
    captions: int
    median: float
    low: float  # 5 % quantile
    high: float  # 95 % quantile


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleCaption:
    """A caption of a sample. `spans` are its sub-captions, `tags` the objects in them: code points, half-open."""

    generation: str
    text: str
    spans: tuple[tuple[int, int], ...]
    tags: tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One image: its captions, and its tags: lemma and attributes."""

    key: str
    captions: tuple[SampleCaption, ...]
    tags: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """A build in more detail than the counts of its manifest."""

    words: tuple[WordCounts, ...]
    subs_per_image: tuple[tuple[int, int], ...]  # (sub-captions, images that have so many), usable images only
    top_tags: tuple[tuple[str, int], ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunProgress:
    """A run that has no build yet, counted in images."""

    listed: int  # in the index so far
    answers: tuple[tuple[str, int], ...]  # by generation
    rejects: tuple[tuple[str, int], ...]  # by reason, most frequent first


def gather(connection: duckdb.DuckDBPyConnection, *, tags: int = 10, samples: int = 3) -> Statistics:
    """Read the `tags` most frequent tags and `samples` images of a build; the selection is deterministic."""

    def rows(sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return fetch(connection, sql, list(values))

    words = rows(
        "SELECT generation, first(source), count(*), median(n_words) AS middle, quantile_cont(n_words, 0.05), "
        "quantile_cont(n_words, 0.95) FROM captions GROUP BY generation ORDER BY generation = 'raw', middle DESC, 1"
    )
    keys = rows(f"SELECT key FROM images WHERE {_USABLE} AND n_captions > 0 ORDER BY md5(key) LIMIT ?", samples)
    return Statistics(
        words=tuple(WordCounts(*row) for row in words),
        subs_per_image=tuple(
            rows(f"SELECT n_sub_captions, count(*) FROM images WHERE {_USABLE} GROUP BY ALL ORDER BY ALL")
        ),
        top_tags=tuple(
            rows("SELECT lemma, count(*) AS n FROM objects GROUP BY ALL ORDER BY n DESC, lemma LIMIT ?", tags)
        ),
        samples=samples_of(connection, [key for (key,) in keys]),
    )


def samples_of(connection: duckdb.DuckDBPyConnection, keys: list[str]) -> tuple[Sample, ...]:
    """Captions and tags of the images `keys`, in one query per table: every query opens the footers of all shards."""
    if not keys:
        return ()
    ours = f"key IN {placeholders(keys)}"  # tables are sorted by key: other row groups are not read
    captions = fetch(
        connection,
        f"SELECT key, caption_id, generation, text FROM captions WHERE {ours} "
        f"ORDER BY generation = 'raw', n_words DESC, caption_id",
        keys,
    )
    spans = fetch(
        connection,
        f"SELECT caption_id, char_start, char_end FROM sub_captions WHERE {ours} ORDER BY caption_id, idx",
        keys,
    )
    tags = fetch(
        connection,
        f"SELECT key, regexp_replace(sub_id, '#[0-9]+$', ''), char_start, char_end, lemma, attributes FROM objects "
        f"WHERE {ours} ORDER BY ALL",
        keys,
    )
    samples = []
    for key in keys:
        attributes_of: dict[str, list[str]] = {}
        for owner, _, _, _, lemma, attributes in tags:
            if owner == key:
                known = attributes_of.setdefault(lemma, [])
                known += [a for a in attributes or () if a not in known]
        shown = tuple(
            SampleCaption(
                generation=generation,
                text=text,
                spans=tuple((start, end) for owner, start, end in spans if owner == caption_id),
                tags=tuple((start, end) for _, owner, start, end, *_ in tags if owner == caption_id),
            )
            for owner, caption_id, generation, text in captions
            if owner == key
        )
        samples.append(
            Sample(key=key, captions=shown, tags=tuple((lemma, tuple(a)) for lemma, a in attributes_of.items()))
        )
    return tuple(samples)


def run_progress(connection: duckdb.DuckDBPyConnection, output: OutputPaths) -> RunProgress:
    """The progress of a run without a build."""
    return RunProgress(
        listed=listed(output),
        answers=tuple(fetch(connection, _ANSWERED)),
        rejects=tuple(
            fetch(connection, "SELECT reason, count(*) AS n FROM rejects GROUP BY ALL ORDER BY n DESC, reason")
        ),
    )


def listed(output: OutputPaths) -> int:
    """Images in a run's index. Raises DatasetError if a file of it cannot be read."""
    return sum(footer(file).num_rows for file in output.of_run(INDEX))
