"""Task `repair`: a new caption in which the sub-captions that are not supported by the image are replaced."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import Field

from recaption.section import Section
from recaption.tasks.base import Inputs, Parsed, Rows, Task, Unit, UnitAnswer, sub_captions, unit_id, value_in
from recaption.tasks.caption import classify, reworded
from recaption.tasks.cleaning import published
from recaption.tasks.verify import VERIFICATIONS
from recaption.text import cut, normalise
from recaption.types import Caption, Completion, Generation, Image

_REMOVE: Final = ("none", "remove")  # answers that delete the sentence
_MARKS = " \t\r\n*_\"'`“”.!"
_LEAD = re.compile(r"(?:[-*•]\s+|\d{1,2}[.)]\s+|(?:corrected |revised |new )?(?:sentence|statement|answer):\s*)", re.I)
_NEXT_SENTENCE = re.compile(r"[^\W\d_]{4,}[.!?][\"'”’)]*\s+[\"'“‘(]*[A-Z]|\n")  # four letters: no abbreviation


class RepairSettings(Section):
    """What is repaired."""

    threshold: float = Field(0.5, gt=0, le=1, description="Sub-captions with a p_true below it are repaired")


class RepairTask(Task):
    """One request for each unsupported sub-caption. The value has the new `sentence`; null: the sentence is deleted.

    It reads verifications. If several generations verified a sub-caption (with different prompts or models), the mean
    of their p_true is used. A sub-caption that repeats another has the p_true of the other. Each caption with a
    repaired sentence gives a new caption; the original stays.
    """

    settings = RepairSettings
    prompt = "repair"
    variables = frozenset({"statement", "caption"})
    reads = frozenset({VERIFICATIONS.name})
    makes_captions = True
    keeps_granularity = True
    options: RepairSettings

    def identity(self) -> Mapping[str, Any]:
        """The threshold only decides which requests are sent."""
        return {}

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        p_true = _p_true(inputs)
        return [
            Unit(
                id=unit_id(image.key, sub), variables={"statement": sub.text, "caption": caption.text}, crop=caption.box
            )
            for caption, sub in sub_captions(_verified(inputs))
            if p_true.get(sub.sub_id, p_true.get(sub.dup_of or "", 1.0)) < self.options.threshold
        ]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        text, finish = published(completion.text).text, classify(completion)
        # Cleaning empties the answer NONE, so it is read from the raw text, after any block of thoughts.
        word = (text or completion.text.rpartition(">")[2]).strip(_MARKS).casefold()
        if word in _REMOVE and completion.finish_reason in ("stop", "length"):
            return Parsed(finish="stop", value={"sentence": None})
        if finish not in ("stop", "length"):
            return Parsed(finish=finish)
        if finish == "length":
            return Parsed(finish="invalid", reason="truncated_answer", detail="the sentence was cut off")
        statement, lead = unit.variables["statement"], _LEAD.match(text)
        sentence = text[lead.end() :] if lead else text
        if _NEXT_SENTENCE.search(sentence) or len(sentence) > 3 * len(statement) + 200:
            return Parsed(finish="invalid", detail=f"the answer is more than one sentence: {sentence[:100]!r}")
        if not sentence or _words(sentence) == _words(statement):
            return Parsed(finish="invalid", detail=f"the answer repeats the statement: {sentence[:100]!r}")
        ends = statement.endswith((".", "!", "?")) and sentence[-1].isalnum()
        return Parsed(finish="stop", value={"sentence": f"{sentence}." if ends else sentence})

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        new: dict[str, str | None] = {
            f"{image.key}/{found.unit.id}": value_in(found.answer)["sentence"]
            for found in answers
            if found.answer is not None
        }
        made: list[Caption] = []
        for caption in (caption for upstream in _verified(inputs).values() for caption in upstream.captions):
            text = _repaired(caption, new)
            if text and not new.keys().isdisjoint(sub.sub_id for sub in caption.sub_captions):
                made.append(reworded(caption, generation, image.key, len(made), text))
        return Rows(captions=tuple(made))

    def has_result(self, answers: Sequence[UnitAnswer], rows: Rows) -> bool:
        """An image whose sentences are all supported needs no repair."""
        return not answers or super().has_result(answers, rows)


def _verified(inputs: Inputs) -> Inputs:
    """The generations whose captions were verified, each once."""
    return {name: upstream for check in inputs.values() for name, upstream in check.inputs.items()}


def _p_true(inputs: Inputs) -> Mapping[str, float]:
    """By sub_id, the mean of all generations that verified it."""
    found = defaultdict[str, list[float]](list)
    for check in inputs.values():
        for row in check.tables.get(VERIFICATIONS.name, ()):
            found[row["sub_id"]].append(row["p_true"])
    return {sub: sum(values) / len(values) for sub, values in found.items()}


def _repaired(caption: Caption, new: Mapping[str, str | None]) -> str:
    """The text with the sub-captions in `new` replaced, or deleted (None). Separators between the others stay."""
    subs = caption.sub_captions
    end = subs[0].char_start if subs else 0
    text, kept = caption.text[:end], False
    for sub in subs:
        before = caption.text[end : sub.char_start]  # white space, or the marker of a list
        end = sub.char_end
        sentence = new.get(sub.sub_id, sub.text)
        if sentence is not None:
            text += (before if kept else "") + sentence
            kept = True
    return cut(normalise(text + caption.text[end:])).rstrip() if kept else ""


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
