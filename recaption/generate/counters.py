"""Counts of a pass by generation. docs/figures.md defines each of them."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from recaption.generate.retry import DEGENERATE
from recaption.tasks.question import Question
from recaption.types import Answer, Reject


@dataclass(kw_only=True, slots=True)
class Counters:
    """Stored answers and rejects, and the tokens that engines processed. Keys are ids of generations."""

    answers: Counter[str] = field(default_factory=Counter)
    rejects: Counter[tuple[str, str]] = field(default_factory=Counter)  # (generation, reason)
    retries: Counter[str] = field(default_factory=Counter)
    degenerate: Counter[str] = field(default_factory=Counter)  # answers after degenerate attempts, degenerate rejects
    images: Counter[str] = field(default_factory=Counter)  # with all units answered or rejected; `per_unit` only
    skipped: Counter[str] = field(default_factory=Counter)  # of these, images without an upstream answer
    prompt_tokens: Counter[str] = field(default_factory=Counter)
    cached_tokens: Counter[str] = field(default_factory=Counter)
    output_tokens: Counter[str] = field(default_factory=Counter)

    def count(self, items: Iterable[Answer | Reject], generation: str) -> None:
        """Add items that are in the store."""
        for item in items:
            if isinstance(item, Answer):
                self.answers[generation] += 1
                self.retries[generation] += max(0, len(item.attempts) - 1)
                self.degenerate[generation] += any(a.finish_reason in DEGENERATE for a in item.attempts[:-1])
            else:
                self.rejects[generation, item.reason] += 1
                self.retries[generation] += max(0, item.attempts - 1)
                self.degenerate[generation] += item.reason in ("empty_answer", "repetition", "refusal")

    def finished(self, question: Question, *, skipped: bool) -> None:
        """All units of an image are in the store. Counted only for questions whose other counts are in units."""
        if question.per_unit:
            self.images[question.id] += 1
            self.skipped[question.id] += skipped

    def split(self) -> tuple[Counters, Counters]:
        """The counts of images with all units, and all other counts."""
        images = Counters(images=self.images, skipped=self.skipped)
        return images, dataclasses.replace(self, images=Counter(), skipped=Counter())

    def add(self, other: Counters) -> None:
        for each in dataclasses.fields(self):
            getattr(self, each.name).update(getattr(other, each.name))

    def at_least(self, other: Counters) -> Counters:
        """The larger count of both, field by field: each is a lower bound of the same counts."""
        return Counters(**{f.name: getattr(self, f.name) | getattr(other, f.name) for f in dataclasses.fields(self)})

    @property
    def total(self) -> int:
        """Answers and rejects."""
        return self.answers.total() + self.rejects.total()

    @property
    def reasons(self) -> Counter[str]:
        """Rejects by reason."""
        found: Counter[str] = Counter()
        for (_, reason), count in self.rejects.items():
            found[reason] += count
        return found
