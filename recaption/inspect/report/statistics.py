"""The statistics of a build in a report. Each table is scanned a few times and never kept in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recaption.inspect import questions
from recaption.inspect.sql import Row, fetch, fetch_rows, identifier

if TYPE_CHECKING:
    import duckdb

Rows = Sequence[Row]
FLAGS = ("is_fragment", "is_negation", "is_meta", "is_boilerplate", "is_unparsed")
WEIGHT_STEP = 0.05
TOP_TAGS = 24
_USABLE = "status IN ('ok', 'partial')"
_CLIP_FRAME = 2  # start and end token, included in the count of every sub-caption (open_clip/tokenizer.py)


@dataclass(frozen=True, kw_only=True, slots=True)
class Distribution:
    """The frequencies of integers: (value, count), ascending."""

    counts: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, rows: Iterable[tuple[Any, ...]]) -> Distribution:
        """From rows (value, count); null values are left out."""
        return cls(counts=tuple(sorted((int(value), int(n)) for value, n in rows if value is not None and n)))

    @property
    def total(self) -> int:
        return sum(n for _, n in self.counts)

    @property
    def mean(self) -> float:
        return sum(value * n for value, n in self.counts) / self.total if self.total else 0.0

    def quantile(self, share: float) -> int:
        """The smallest value that at least `share` of all values do not exceed; 0 without values."""
        left = share * self.total
        for value, n in self.counts:
            left -= n
            if left <= 1e-9:
                return value
        return self.counts[-1][0] if self.counts else 0

    def above(self, limit: int) -> int:
        """The number of values above `limit`."""
        return sum(n for value, n in self.counts if value > limit)


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of the sub-captions of a generation that share a source or a position: a row of `--ask weights`."""

    generation: str
    source: str | None
    position: str | None  # "1" to "10" or "11+"
    mean: float
    counts: tuple[int, ...]  # of weights that are 0, up to 0.1, 0.4, 0.8 and 1

    @property
    def total(self) -> int:
        return sum(self.counts)

    @property
    def low(self) -> int:
        """The number of weights of at most 0.1."""
        return sum(self.counts[:2])


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Statistics that the manifest lacks. Tokens are by tokenizer, words by generation (longest first, raw last)."""

    sources: tuple[tuple[str, str, int], ...]  # (generation, source, captions)
    caption_words: tuple[tuple[str, Distribution], ...]
    sub_words: Distribution
    subs_per_image: Distribution
    texts_per_image: Distribution
    sub_tokens: tuple[tuple[str, Distribution], ...]
    caption_tokens: tuple[tuple[str, Distribution], ...]
    weights: Distribution  # in steps of WEIGHT_STEP, rounded down
    weights_by_source: tuple[Weights, ...]
    weights_by_position: tuple[tuple[str, tuple[Weights, ...]], ...]  # by generation
    tags: Rows  # lemma, mentions, images, attributes: (attribute, count), most frequent first
    lemmas: int  # distinct
    flags: Rows  # flag without is_ ("duplicate" for those with dup_of), count of sub-captions, example
    rejects: Rows  # reason, stage, generation (None for rejected images), count, example
    repeated: Rows  # text of several equal sub-captions, times
    sub_captions: int
    distinct_sub_captions: int
    images: int  # usable
    distinct_images: int  # of those, by sha256
    languages: tuple[tuple[str, int], ...]  # of captions; "" if unknown


def gather(connection: duckdb.DuckDBPyConnection) -> Statistics:
    """Query the views of a build."""

    def rows(sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return fetch(connection, sql, list(values))

    def spread(sql: str, *values: Any) -> Distribution:
        return Distribution.of(rows(sql, *values))

    columns = {table: _columns(connection, table) for table in ("images", "sub_captions")}
    tokenizers = [name.removeprefix("n_tokens_") for name in columns["sub_captions"] if name.startswith("n_tokens_")]
    words: dict[str, list[tuple[int, int]]] = {}
    for generation, n_words, n in rows("SELECT generation, n_words, count(*) FROM captions GROUP BY ALL"):
        words.setdefault(generation, []).append((n_words, n))
    by_generation = [(name, Distribution.of(found)) for name, found in words.items()]
    by_generation.sort(key=lambda one: (one[0] == "raw", -one[1].quantile(0.5), one[0]))
    order = [name for name, _ in by_generation]
    sources = rows("SELECT generation, source, count(*) FROM captions GROUP BY ALL ORDER BY ALL")
    total, distinct = rows("SELECT count(*), count(DISTINCT hash(text)) FROM sub_captions")[0]
    weights = [
        Weights(generation, source, position, mean, tuple(counts))
        for generation, source, position, _, mean, _, *counts in rows(questions.load("weights").sql)
    ]
    images, distinct_images = rows(f"SELECT count(*), count(DISTINCT sha256) FROM images WHERE {_USABLE}")[0]
    texts = f"SELECT n_texts, count(*) FROM images WHERE {_USABLE} GROUP BY ALL"
    return Statistics(
        sources=tuple(sorted(sources, key=lambda row: (order.index(row[0]), row[1]))),
        caption_words=tuple(by_generation),
        sub_words=spread("SELECT n_words, count(*) FROM sub_captions GROUP BY ALL"),
        subs_per_image=spread(f"SELECT n_sub_captions, count(*) FROM images WHERE {_USABLE} GROUP BY ALL"),
        texts_per_image=spread(texts) if "n_texts" in columns["images"] else Distribution(counts=()),
        sub_tokens=tuple(
            (name, spread(f"SELECT {identifier(f'n_tokens_{name}')}, count(*) FROM sub_captions GROUP BY ALL"))
            for name in tokenizers
        ),
        caption_tokens=tuple((name, spread(_CAPTION_TOKENS)) for name in tokenizers if name == "clip"),
        weights=spread("SELECT CAST(floor(weight * 20 + 1e-9) AS INTEGER), count(*) FROM sub_captions GROUP BY ALL"),
        weights_by_source=tuple(one for name in order for one in weights if one.generation == name and one.source),
        weights_by_position=tuple(
            (name, tuple(one for one in weights if one.generation == name and one.position)) for name in order
        ),
        tags=fetch_rows(connection, _TAGS),
        lemmas=rows("SELECT count(DISTINCT lemma) FROM objects")[0][0],
        flags=_flags(connection),
        rejects=fetch_rows(connection, _REJECTS),
        repeated=fetch_rows(connection, _REPEATED),
        sub_captions=total,
        distinct_sub_captions=distinct,
        images=images,
        distinct_images=distinct_images,
        languages=tuple(rows("SELECT coalesce(lang, ''), count(*) AS n FROM captions GROUP BY ALL ORDER BY n DESC, 1")),
    )


# Tokens of captions, from their sub-captions: the sum counts start and end tokens several times. White space between
# sub-captions gives no tokens in CLIP's tokenizer; other tokenizers differ and are left out.
_CAPTION_TOKENS = (
    f"SELECT tokens, count(*) FROM (SELECT sum(n_tokens_clip) - {_CLIP_FRAME} * (count(*) - 1) AS tokens "
    "FROM sub_captions GROUP BY caption_id) GROUP BY ALL"
)
_REJECTS = (
    "SELECT reason, stage, generation, count(*) AS count, coalesce(arg_min(detail, md5(key)), '') AS example "
    "FROM rejects GROUP BY ALL ORDER BY 4 DESC, reason, generation NULLS FIRST"
)
_REPEATED = (
    "SELECT any_value(text) AS text, count(*) AS times FROM sub_captions GROUP BY hash(text) HAVING times > 1 "
    "ORDER BY times DESC, text LIMIT 8"
)
_TAGS = f"""
WITH top AS (
    SELECT lemma, count(*) AS mentions, count(DISTINCT key) AS images FROM objects
    GROUP BY lemma ORDER BY mentions DESC, lemma LIMIT {TOP_TAGS}
), described AS (
    SELECT lemma, attribute, count(*) AS n
    FROM (SELECT lemma, unnest(attributes) AS attribute FROM objects WHERE lemma IN (SELECT lemma FROM top))
    GROUP BY ALL
)
SELECT lemma, mentions, images, coalesce(attributes, []) AS attributes FROM top LEFT JOIN (
    SELECT lemma, list((attribute, n) ORDER BY n DESC, attribute)[:6] AS attributes FROM described GROUP BY lemma
) USING (lemma) ORDER BY mentions DESC, lemma
"""


def _flags(connection: duckdb.DuckDBPyConnection) -> Rows:
    """All flags in one scan; the examples are deterministic."""
    conditions = {flag.removeprefix("is_"): flag for flag in FLAGS} | {"duplicate": "dup_of IS NOT NULL"}
    counts = ", ".join(
        f"count(*) FILTER ({condition}), arg_min(text, md5(sub_id)) FILTER ({condition})"
        for condition in conditions.values()
    )
    (row,) = fetch(connection, f"SELECT {counts} FROM sub_captions")
    return [Row(flag=flag, count=row[2 * n], example=row[2 * n + 1]) for n, flag in enumerate(conditions)]


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    return [str(row[0]) for row in fetch(connection, f"DESCRIBE {table}")]
