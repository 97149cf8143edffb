"""Answers with several different texts as a JSON list, of which exactly n are used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import orjson

from recaption.tasks.output import Output


def list_of_texts(fewest: int, most: int) -> Output:
    """The form of the answers."""
    texts = {"type": "array", "items": {"type": "string"}, "minItems": fewest, "maxItems": most}
    return Output(json_schema=orjson.dumps(texts))


def first_usable(texts: Iterable[str], n: int, problem: Callable[[str, Sequence[str]], str | None]) -> list[str]:
    """The first n texts without a `problem`, which is given a text and the usable ones before it.

    Raises ValueError if there are fewer.
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
