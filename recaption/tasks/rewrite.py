"""Task `rewrite`: captions in other words, by a text model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import Field

from recaption.tasks.base import CAPTIONS, Inputs, Parsed, Rows, Unit, UnitAnswer, value_in
from recaption.tasks.caption import captions_by_unit, reworded
from recaption.tasks.changes import WORD
from recaption.tasks.cleaning import published
from recaption.tasks.faults import parse_whole
from recaption.tasks.output import value_of
from recaption.tasks.several_texts import SeveralTextsSettings, SeveralTextsTask, first_usable
from recaption.tasks.wording import attribute_pairs, fact_words, missing_words, moved_attribute, shared_ngrams, words_of
from recaption.types import Caption, Completion, Generation, Image

_FEWEST = 4  # words of a caption that can be written in other words
_SHORTEST, _LONGEST = 0.5, 2.0  # words of a rewrite, as a share of those of the caption


class RewriteSettings(SeveralTextsSettings):
    """How many rewrites are made, and how different they have to be."""

    n: int = Field(5, ge=1, le=20, description="Rewrites of each caption")
    spare: int = Field(1, ge=0, le=20, description="Further rewrites in an answer, which replace unusable ones")
    overlap: float = Field(
        0.5, ge=0, le=1, description="Largest share of 3-word sequences in common with the caption or another rewrite"
    )
    kept: float = Field(1.0, ge=0, le=1, description="Smallest share of the words of objects and attributes that stay")


class RewriteTask(SeveralTextsTask):
    """One request for each caption. The value has exactly n `rewrites`.

    A rewrite has the words of the caption's objects and attributes (plural s does not count), and no attribute in front
    of another object. It shares few sequences of three words with the caption and with the other rewrites. An answer
    with fewer than n such texts is invalid. Whether a rewrite adds something is not checked.
    """

    settings = RewriteSettings
    needs = frozenset({"text"})
    prompt = "rewrite"
    variables = frozenset({"caption", "number", "facts"})
    reads = frozenset({CAPTIONS})
    makes_captions = True
    keeps_granularity = True
    options: RewriteSettings

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        return [
            Unit(
                id=name,
                variables={
                    "caption": caption.text,
                    "number": self.number,
                    "facts": fact_words(caption),
                    "pairs": attribute_pairs(caption),
                },
            )
            for name, caption in captions_by_unit(image, inputs).items()
            if len(WORD.findall(caption.text)) >= _FEWEST
        ]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        return parse_whole(completion, lambda text: self._parsed(unit, text))

    def _parsed(self, unit: Unit, answer: str) -> Parsed:
        texts = (published(text).text for text in value_of(self.form, answer))
        problem = partial(self._problem, unit.variables)
        return Parsed(finish="stop", value={"rewrites": first_usable(texts, self.options.n, problem)})

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        captions, made = captions_by_unit(image, inputs), list[Caption]()
        for found in answers:
            caption = captions.get(found.unit.id)
            for text in value_in(found.answer)["rewrites"] if found.answer is not None and caption else ():
                assert caption is not None
                new = reworded(caption, generation, image.key, len(made), text)
                made.append(replace(new, finish_reason="stop"))
        return Rows(captions=tuple(made))

    def _problem(self, about: Mapping[str, Any], text: str, others: Sequence[str]) -> str | None:
        caption, facts = about["caption"], about["facts"]
        length = len(words_of(text)) / len(words_of(caption))
        if not _SHORTEST <= length <= _LONGEST:
            return f"has {length:.1f} times the words of the caption"
        missing = missing_words(text, facts)
        if len(missing) > (1 - self.options.kept) * len(facts) + 1e-9:
            return f"lacks {', '.join(missing)}"
        if self.options.kept == 1 and (moved := moved_attribute(text, about["pairs"])) is not None:
            return f"contains {moved!r}, which the caption does not state"
        shared = max(shared_ngrams(text, other) for other in (caption, *others))
        if shared > self.options.overlap:
            return f"shares {shared:.0%} of its three-word sequences with the caption or another rewrite"
        return None
