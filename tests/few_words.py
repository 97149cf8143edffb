"""Records of few words for tests of what is drawn from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from recaption.types import Caption, Granularity, Record, SubCaption


def sub(text: str, idx: int = 0, **fields: Any) -> SubCaption:
    """A sub-caption; its offsets are those of a text that begins with it."""
    given = {"sub_id": f"k/g/0#{idx}", "n_words": len(text.split()), "content_start": 0, "char_start": 0}
    return SubCaption(**({"idx": idx, "text": text, "char_end": len(text)} | given | fields))


def caption(kind: Granularity, *texts: str | SubCaption, cut: bool = True, generation: str = "") -> Caption:
    """A caption of these sentences; with `cut` false it has no sub-captions."""
    subs = tuple(one if isinstance(one, SubCaption) else sub(one, n) for n, one in enumerate(texts))
    return Caption(
        caption_id=f"k/{generation or kind}/0",
        generation=generation or kind,
        source="raw" if kind == "raw" else f"model:{generation or kind}",
        granularity=kind,
        text=" ".join(one.text for one in subs),
        sub_captions=subs if cut else (),
    )


def record(*captions: Caption) -> Record:
    return Record(key="k", source_key="k", shard="s", row=0, sha256="", status="ok", captions=captions)


def bag() -> Record:
    """One raw, two short and two long captions, in pipeline order; every sentence is a letter and a full stop."""
    return record(
        caption("raw", "a."),
        caption("short", "b."),
        caption("short", "c.", generation="short2"),
        caption("long", "d.", "e.", "f."),
        caption("long", "g.", "h.", "i.", generation="long2"),
    )


DRAWS = 100_000
"""Texts of a policy in a test of its distribution."""


def chi_square_limit(cells: int, z: float = 3.719) -> float:
    """What a chi-square of so many cells exceeds with probability 1e-4 (Wilson and Hilferty's approximation)."""
    free = max(1, cells - 1)
    return free * (1 - 2 / (9 * free) + z * (2 / (9 * free)) ** 0.5) ** 3


def assert_drawn_as(counts: Counter[Any], expected: Mapping[Any, float]) -> None:
    """The counts follow these probabilities, which sum to 1; nothing else was drawn."""
    total = counts.total()
    assert abs(sum(expected.values()) - 1) < 1e-9
    assert set(counts) <= set(expected)
    assert min(p for p in expected.values() if p) * total >= 5, "too few draws for a chi-square"
    assert all(counts[what] == 0 for what, p in expected.items() if not p)
    value = sum((counts[what] - p * total) ** 2 / (p * total) for what, p in expected.items() if p)
    assert value < chi_square_limit(sum(1 for p in expected.values() if p))


def assert_drawn_alike(one: Counter[Any], other: Counter[Any]) -> None:
    """Both counts come from the same distribution; nothing rare is among what was drawn."""
    ratio = (one.total() / other.total()) ** 0.5
    cells = set(one) | set(other)
    assert min(one[cell] + other[cell] for cell in cells) >= 10, "too few draws for a chi-square"
    value = sum((one[cell] / ratio - other[cell] * ratio) ** 2 / (one[cell] + other[cell]) for cell in cells)
    assert value < chi_square_limit(len(cells))
