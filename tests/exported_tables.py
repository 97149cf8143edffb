"""Tables of small builds: what the tasks and `annotate.tables` would make of the texts in tests/export/conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from recaption.tasks.aspects import ASPECTS
from recaption.tasks.base import TableSpec
from recaption.tasks.changes import CATEGORIES
from recaption.tasks.class_texts import CLASS_TEXTS
from recaption.tasks.match import MATCHES
from recaption.tasks.negative_table import NEGATIVES
from recaption.tasks.region_table import REGIONS
from recaption.tasks.score import SCORES
from recaption.tasks.verify_negatives import VERIFIED_NEGATIVES
from recaption.types import Record, SubCaption

Row = Mapping[str, Any]
Rows = Callable[[Record], Sequence[Row]]
TASKS = {
    "regions": "regions",
    "negatives": "negatives",
    "verified_negatives": "verify_negatives",
    "scores": "score",
    "aspects": "aspects",
    "matches": "match",
    "class_texts": "class_texts",
}
"""The tasks that make these tables; the others are custom."""


def _sentences(record: Record) -> tuple[SubCaption, ...]:
    return next((c.sub_captions for c in record.captions if c.generation == "long"), ())


def _strings(*names: str) -> pa.Schema:
    return pa.schema([(name, pa.string()) for name in names])


def regions(record: Record) -> Sequence[Row]:
    """Two boxes of the first sentence and a point of the second; images with an odd row have none."""
    corners = {"x0": 0.1, "y0": 0.2, "x1": 0.3, "y1": 0.4}
    found = ((0, "Red kite", False), (0, "dunes", False), (1, "sky", True)) if record.row % 2 == 0 else ()
    about = [
        {"sub_id": _sentences(record)[n].sub_id, "phrase": text, "is_point": point, **corners}
        for n, text, point in found
    ]
    return [{"region_id": f"{record.key}/r#{rank}", **row, "rank": rank} for rank, row in enumerate(about)]


def negatives(record: Record) -> Sequence[Row]:
    """Ten changes of the first sentence, of all categories, and one of the second."""
    made = [(0, f"A kite number {n} flies over Dunes.", CATEGORIES[n % len(CATEGORIES)]) for n in range(10)]
    about = {"changed_start": 0, "changed_end": 1, "replaced": "A", "method": "rules"}
    return [
        {"sub_id": _sentences(record)[n].sub_id, "text": text, "category": category, **about}
        for n, text, category in (*made, (1, "The sky is blue.", "attribute"))
    ] + [
        {"sub_id": caption.sub_captions[0].sub_id, "text": f"A kite {n}.", "category": "object", **about}
        for caption in record.captions
        if caption.granularity == "region"
        for n in range(10)
    ]


def verified(record: Record) -> Sequence[Row]:
    """Of the negatives of the first sentence: one that is true of the image, and one on which two models disagree."""
    about = {"sub_id": _sentences(record)[0].sub_id, "coverage": 1.0}
    found = ((0, "a", 0.9), (1, "a", 0.6), (1, "b", 0.1), (2, "a", 0.2))
    return [
        {**about, "text": f"A kite number {n} flies over Dunes.", "model": model, "p_true": p} for n, model, p in found
    ]


def concepts(record: Record) -> Sequence[Row]:
    """In the order of the text; the short caption has one, too. Images with an odd row have no noun phrase."""
    found = [("long", "action", "flies over"), ("short", "noun_phrase", "the sea")]
    phrases = ("A red kite", "dunes", "the sky", "a kite of a very old man", "A red kite")
    found += [("long", "noun_phrase", text) for text in phrases if record.row % 2 == 0]
    return [
        {"sub_id": f"{record.key}/{of}/0#0", "caption_id": f"{record.key}/{of}/0", "kind": kind, "text": text}
        for of, kind, text in found
    ]


def scores(record: Record) -> Sequence[Row]:
    """Of the long caption, its first sentence, and two objects in that."""
    about = {"caption_id": f"{record.key}/long/0", "model": "clip", "is_cut": False}
    first = f"{record.key}/long/0#0"
    found = ((None, None, 0.9), (first, None, 0.2), (first, "kite", 0.3), (first, "dunes", 0.1))
    return [{**about, "sub_id": sub_id, "object": lemma, "score": score} for sub_id, lemma, score in found]


def triples(record: Record) -> Sequence[Row]:
    first = f"{record.key}/long/0#0"
    return [{"sub_id": first, "subject": "kite", "relation": f"over {n}", "object": "dune"} for n in range(5)]


def pairs(record: Record) -> Sequence[Row]:
    first = f"{record.key}/long/0#0"
    return [{"sub_id": first, "object": "kite", "attribute": attribute} for attribute in ("red", "big")]


def aspects(record: Record) -> Sequence[Row]:
    """Of the long caption: what it looks like, for the first image only, and a value of an ontology."""
    about: Row = {"caption_id": f"{record.key}/long/0", "ancestors": [], "made_caption": None}
    look = "It is red." if record.row == 0 else None
    return [
        {**about, "aspect": "look", "is_valid": look is not None, "text": look, "values": []},
        {**about, "aspect": "diagnosis", "is_valid": True, "text": "kite, bird", "values": ["kite"]},
    ]


def matches(record: Record) -> Sequence[Row]:
    """Five texts; three of images with an odd row. The table is not in the order of their rank."""
    about = {"class_name": "red kite", "model": "clip", "is_cut": False}
    return [
        {**about, "text": f"text {rank}", "rank": rank, "score": 1 / (1 + rank)}
        for rank in reversed(range(3 if record.row % 2 else 5))
    ]


def class_texts(record: Record) -> Sequence[Row]:
    """Of the first class."""
    texts = ("A bird with a forked tail.", "Rusty wings", "A bird of prey", "word " * 60)
    about = {"class_name": record.source_key, "model": "m"}
    return [{**about, "rank": n, "text": text} for n, text in enumerate(texts) if record.row == 0]


TABLES: Mapping[str, tuple[TableSpec | pa.Schema, Rows]] = {
    "regions": (REGIONS, regions),
    "negatives": (NEGATIVES, negatives),
    "verified_negatives": (VERIFIED_NEGATIVES, verified),
    "scores": (SCORES, scores),
    "aspects": (ASPECTS, aspects),
    "matches": (MATCHES, matches),
    "class_texts": (CLASS_TEXTS, class_texts),
    "concepts": (_strings("caption_id", "kind", "text"), concepts),
    "triples": (_strings("subject", "relation", "object"), triples),
    "attribute_pairs": (_strings("object", "attribute"), pairs),
}


def full_tables() -> dict[str, tuple[TableSpec | pa.Schema, Rows]]:
    """All tables, with rows of each for every record: those of the first record.

    Without `verified_negatives`, because of which exports leave out negatives.
    """

    def as_first(rows: Rows) -> Rows:
        return lambda record: rows(replace(record, row=0))

    return {name: (columns, as_first(rows)) for name, (columns, rows) in TABLES.items() if name != "verified_negatives"}


def tables(*names: str) -> dict[str, tuple[TableSpec | pa.Schema, Rows]]:
    """These tables, for the fixture `build`."""
    return {name: TABLES[name] for name in names}
