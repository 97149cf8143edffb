"""Turns an answer that is one of two words into the probability of the first word."""

from __future__ import annotations

import math
from typing import Final

from recaption.tasks.base import Parsed
from recaption.tasks.caption import classify
from recaption.tasks.output import Output, value_of
from recaption.types import Completion

LEAST_COVERAGE: Final = 0.5
_MARKS: Final = " \t\r\n*_\"'`“”.,:;!"  # around the word of an answer in text


def of_two(completion: Completion, choices: tuple[str, str], name: str) -> Parsed:
    """The value has `name`: p(first) / (p(first) + p(second)), and `coverage`: p(first) + p(second).

    An answer with a coverage below 0.5 is `unclear`. Without log-probabilities, `name` is 1 or 0 and the coverage is
    None; a text that is neither of the choices is `invalid`.
    """
    logprobs = completion.logprobs.choices if completion.logprobs is not None else ()
    if completion.finish_reason in ("stop", "length") and len(logprobs) == len(choices):
        first, second = (math.exp(min(logprob, 0.0)) for logprob in logprobs)
        if not first + second >= LEAST_COVERAGE:  # NaN too
            detail = (
                f"p({choices[0]}) = {first:.3g} and p({choices[1]}) = {second:.3g}, which sum to less than "
                f"{LEAST_COVERAGE}"
            )
            return Parsed(finish="unclear", reason="unclear", detail=detail)
        return Parsed(finish="stop", value={name: first / (first + second), "coverage": min(first + second, 1.0)})
    finish = classify(completion)
    if finish not in ("stop", "length"):
        return Parsed(finish=finish)
    try:
        word = value_of(Output(choices=choices), completion.text.strip(_MARKS).casefold())
    except ValueError as error:
        return Parsed(finish="invalid", detail=str(error))
    return Parsed(finish="stop", value={name: float(word == choices[0]), "coverage": None})
