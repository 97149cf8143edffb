"""Answers that are a JSON list of different texts, of which exactly n are used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import orjson

from recaption.tasks.output import Output


def list_of_texts(fewest: int, most: int) -> Output:
    """The form of such an answer, with `fewest` to `most` texts."""
    texts = {"type": "array", "items": {"type": "string"}, "minItems": fewest, "maxItems": most}
    return Output(json_schema=orjson.dumps(texts))


def first_usable(texts: Iterable[str], n: int, problem: Callable[[str, Sequence[str]], str | None]) -> list[str]:
    """The first n usable texts. `problem(text, usable)` is why a text cannot be used, or None.

    `usable` has the usable texts before it. Raises ValueError if there are fewer than n.
    """
    kept, problems = list[str](), list[str]()
    for text in texts:
        found = problem(text, kept)
        if found is None:
            kept.append(text)
        else:
            problems.append(f"{found}: {text[:100]!r}")
    if len(kept) < n:
        raise ValueError(f"{len(kept)} of {n} texts can be used; {problems[0]}")
    return kept[:n]
