"""Task `verify`: whether each sub-caption is true of the image, in one request per sub-caption."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, ClassVar, Final, Literal

import pyarrow as pa
from pydantic import Field

from recaption.schema import column
from recaption.section import Section
from recaption.tasks.base import (
    CAPTIONS,
    Inputs,
    Parsed,
    Rows,
    TableSpec,
    Task,
    Unit,
    UnitAnswer,
    sub_captions,
    sub_id,
    unit_id,
    value_in,
)
from recaption.tasks.calibration import Calibration, joined
from recaption.tasks.output import Output
from recaption.tasks.two_choices import of_two
from recaption.text import fold
from recaption.types import Caption, Completion, Generation, Image, SubCaption

CHOICES: Final = ("yes", "no")
_WORDING: Final = "~"  # in the id of a unit, before the number of the wording; the first wording has none
_CLAUSE = re.compile(r"(?:[,:]|\bthat)\s*$", re.IGNORECASE)  # at the end of an opener before a whole sentence
_ENDED = re.compile(r"[.!?…。！？।][\"'”’»)\]*_]*$")

VERIFICATIONS: Final = TableSpec(
    name="verifications",
    columns=pa.schema(
        [
            column("sub_id", pa.string(), "sub-caption that was verified"),
            column("model", pa.string(), "model that verified it"),
            column("prompt", pa.string(), "prompt; null: the answers are from a column", null=True),
            column("p_true", pa.float64(), "probability that the sub-caption is true of the image"),
            column("coverage", pa.float64(), "probability of yes or no; null: not known", null=True),
            column("likelihood", pa.float64(), "lowest token probability; null: not asked for", null=True),
        ]
    ),
    parent="sub_caption",
    description="sub-captions that a model verified; those without a row were not verified",
)


class VerifySettings(Section):
    """What is verified, and how."""

    which: Literal["content", "all"] = Field(
        "content",
        description="content: sub-captions that name an object, repeat no other and are neither fragments nor meta; "
        "all: every sub-caption",
    )
    method: Literal["ask", "likelihood", "both"] = Field(
        "ask", description="ask: the probability of yes; likelihood: of the sentence's least probable token; or both"
    )
    wordings: int = Field(
        1,
        ge=1,
        le=10,
        description="Wordings of the question for each sub-caption; the mean of the answers is used. Variable of the "
        "prompt: wording (0, 1, …)",
    )
    share: float = Field(1.0, gt=0, le=1, description="Share of the images that are verified, chosen by their sha256")
    calibration: Calibration = Field(Calibration(), description="How p_true is computed at build")


class VerifyTask(Task):
    """A yes/no question in each wording for each sub-caption.

    The value has `p_true` and `coverage`, or `likelihood`, or all three.
    p_true = p(yes) / (p(yes) + p(no)) and coverage = p(yes) + p(no), over all spellings. An answer with a coverage
    below 0.5 is `unclear`. Without log-probabilities, p_true is 1 or 0 and coverage is null. likelihood is the lowest
    probability of a token of the statement. The table has the means over the wordings that have an answer, and p_true
    after `Calibration`, which applies at build.
    """

    settings = VerifySettings
    prompt = "is_it_true"
    variables = frozenset({"statement"})
    reads = frozenset({CAPTIONS})
    tables: ClassVar = {VERIFICATIONS.name: VERIFICATIONS}
    options: VerifySettings

    def __init__(self, options: VerifySettings) -> None:
        super().__init__(options)
        if options.wordings > 1:
            self.variables = self.variables | {"wording"}
            self.required = frozenset({"wording"})  # otherwise all wordings make the same request

    def identity(self) -> Mapping[str, Any]:
        """The other settings only decide which requests are sent, or apply at build."""
        return {"method": self.options.method}

    def output(self, unit: Unit | None) -> Output:
        if self.options.method == "likelihood":
            return Output(likelihood=True)
        return Output(choices=CHOICES, logprobs=True, likelihood=self.options.method == "both")

    def units(self, image: Image, inputs: Inputs) -> Sequence[Unit]:
        if _position(image.sha256) >= self.options.share:
            return ()
        statements = [
            (caption.box, sub, statement(caption, sub))
            for caption, sub in sub_captions(inputs)
            if self.options.which == "all" or has_content(sub, of_region=caption.box is not None)
        ]
        return [
            Unit(
                id=unit_id(image.key, sub) + (f"{_WORDING}{wording}" if wording else ""),
                variables={"statement": text, **({"wording": wording} if self.options.wordings > 1 else {})},
                statement=text,
                crop=box,
            )
            for box, sub, text in statements
            for wording in range(self.options.wordings)
        ]

    def parse(self, unit: Unit, completion: Completion) -> Parsed:
        parsed = Parsed(finish="stop", value={})
        if self.options.method != "likelihood":
            parsed = yes_or_no(completion)
        if self.options.method != "ask" and parsed.finish == "stop":
            parsed = _with_likelihood(parsed.value, completion)
        return parsed

    def rows(self, generation: Generation, image: Image, inputs: Inputs, answers: Sequence[UnitAnswer]) -> Rows:
        values: dict[str, list[Any]] = {}
        for found in answers:
            if found.answer is not None:
                sub, _, _ = sub_id(image.key, found.unit).partition(_WORDING)
                values.setdefault(sub, []).append(value_in(found.answer))
        return Rows(tables={VERIFICATIONS.name: [self._row(generation, sub, of_sub) for sub, of_sub in values.items()]})

    def _row(self, generation: Generation, sub: str, values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        likelihood = _mean(values, "likelihood")
        return {
            "sub_id": sub,
            "model": generation.model,
            "prompt": generation.prompt,
            "p_true": joined(_mean(values, "p_true"), likelihood, self.options.calibration),
            "coverage": _mean(values, "coverage"),
            "likelihood": likelihood,
        }


def _mean(values: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The mean of the values that are known; None if there are none."""
    known = [value[name] for value in values if value.get(name) is not None]
    return fmean(known) if known else None


def has_content(sub: SubCaption, *, of_region: bool = False) -> bool:
    """Whether a sub-caption names an object, repeats no other, and is neither a fragment nor meta.

    With `of_region`, fragments and repetitions have content too: captions of regions may be phrases, and two
    regions may have the same one.
    """
    if of_region:
        return bool(sub.objects) and not sub.is_meta
    return bool(sub.objects) and sub.dup_of is None and not (sub.is_fragment or sub.is_meta)


def statement(caption: Caption, sub: SubCaption) -> str:
    """The sub-caption as a statement: in one line, with a full stop, without an opener in front of a whole sentence.

    "In this image, a dog sits" becomes "A dog sits."; "The image shows a dog" keeps its opener, as the rest is no
    sentence.
    """
    text = sub.text
    if _CLAUSE.search(caption.text[sub.char_start : sub.content_start]):
        text = caption.text[sub.content_start : sub.char_end]
        text = text[:1].upper() + text[1:]
    text = fold(text)
    return text if _ENDED.search(text) else text.rstrip(",;:") + "."


def yes_or_no(completion: Completion) -> Parsed:
    return of_two(completion, CHOICES, "p_true")


def _with_likelihood(value: Mapping[str, Any], completion: Completion) -> Parsed:
    tokens = completion.logprobs.tokens if completion.logprobs is not None else ()
    if completion.finish_reason not in ("stop", "length") or not tokens or any(map(math.isnan, tokens)):
        return Parsed(finish="invalid", detail="the engine returned no log-probabilities of the statement's tokens")
    return Parsed(finish="stop", value={**value, "likelihood": math.exp(min(*tokens, 0.0))})


def _position(sha256: str) -> float:
    """A number in [0, 1) for an image. The sha256 is hashed again: the sha256 itself already decides whether an image
    is in split val."""
    return int(hashlib.sha256(f"verify/{sha256}".encode()).hexdigest()[:13], 16) / 16**13
