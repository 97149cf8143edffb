"""Answers that are a JSON list of different texts, of which exactly n are used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import orjson

from recaption.section import Section
from recaption.tasks.base import Task, Unit
from recaption.tasks.output import Output


class SeveralTextsSettings(Section):
    """`n`: texts that are used. `spare`: further texts in an answer, which replace unusable ones."""

    n: int
    spare: int


class SeveralTextsTask(Task):
    """A task whose answers are lists of `n` to `n + spare` texts."""

    options: SeveralTextsSettings

    def __init__(self, options: SeveralTextsSettings) -> None:
        super().__init__(options)
        self.number = options.n + options.spare  # of texts in a request
        texts = {"type": "array", "items": {"type": "string"}, "minItems": options.n, "maxItems": self.number}
        self.form = Output(json_schema=orjson.dumps(texts))

    def output(self, unit: Unit | None) -> Output:
        return self.form


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
