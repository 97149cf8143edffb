"""The statistics of a build in a report. Each table is scanned a few times and never kept in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recaption.inspect.sql import fetch, identifier, placeholders

if TYPE_CHECKING:
    import duckdb

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
class Tagged:
    """An object: its mentions, its images, and its attributes, most frequent first."""

    lemma: str
    mentions: int
    images: int
    attributes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Flagged:
    """The number of sub-captions with a flag, and an example."""

    flag: str  # without is_; "duplicate" for those with dup_of
    count: int
    example: str | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """Rejects with one reason, stage and generation; `generation` is None for rejected images."""

    reason: str
    stage: str
    generation: str | None
    count: int
    example: str  # one detail


@dataclass(frozen=True, slots=True)
class Repeated:
    """The text of several equal sub-captions."""

    text: str
    times: int


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
    tags: tuple[Tagged, ...]
    lemmas: int  # distinct
    flags: tuple[Flagged, ...]
    rejects: tuple[Rejected, ...]
    repeated: tuple[Repeated, ...]
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
        tags=_tags(connection),
        lemmas=rows("SELECT count(DISTINCT lemma) FROM objects")[0][0],
        flags=_flags(connection),
        rejects=tuple(Rejected(*row) for row in rows(_REJECTS)),
        repeated=tuple(Repeated(*row) for row in rows(_REPEATED)),
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
    "SELECT reason, stage, generation, count(*) AS n, coalesce(arg_min(detail, md5(key)), '') FROM rejects "
    "GROUP BY ALL ORDER BY n DESC, reason, generation NULLS FIRST"
)
_REPEATED = (
    "SELECT any_value(text) AS text, count(*) AS n FROM sub_captions GROUP BY hash(text) HAVING n > 1 "
    "ORDER BY n DESC, text LIMIT 8"
)


def _tags(connection: duckdb.DuckDBPyConnection) -> tuple[Tagged, ...]:
    top = fetch(
        connection,
        "SELECT lemma, count(*) AS n, count(DISTINCT key) FROM objects GROUP BY lemma ORDER BY n DESC, lemma LIMIT ?",
        [TOP_TAGS],
    )
    if not top:
        return ()
    attributes = fetch(
        connection,
        f"SELECT lemma, attribute, n FROM (SELECT lemma, attribute, count(*) AS n FROM "
        f"(SELECT lemma, unnest(attributes) AS attribute FROM objects WHERE lemma IN {placeholders(top)}) "
        f"GROUP BY ALL) QUALIFY row_number() OVER (PARTITION BY lemma ORDER BY n DESC, attribute) <= 6 "
        f"ORDER BY n DESC, attribute",
        [lemma for lemma, *_ in top],
    )
    return tuple(
        Tagged(lemma, mentions, images, tuple((attribute, n) for owner, attribute, n in attributes if owner == lemma))
        for lemma, mentions, images in top
    )


def _flags(connection: duckdb.DuckDBPyConnection) -> tuple[Flagged, ...]:
    """All flags in one scan; the examples are deterministic."""
    conditions = {flag.removeprefix("is_"): flag for flag in FLAGS} | {"duplicate": "dup_of IS NOT NULL"}
    counts = ", ".join(
        f"count(*) FILTER ({condition}), arg_min(text, md5(sub_id)) FILTER ({condition})"
        for condition in conditions.values()
    )
    (row,) = fetch(connection, f"SELECT {counts} FROM sub_captions")
    return tuple(Flagged(flag, *row[2 * n : 2 * n + 2]) for n, flag in enumerate(conditions))


def _columns(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    return [str(row[0]) for row in fetch(connection, f"DESCRIBE {table}")]
