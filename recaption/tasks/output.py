"""The form of an answer: free text, one of several choices, JSON of a schema, numbers, or a likelihood."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from recaption.errors import ConfigError
from recaption.text import storable

LEAST_SCORE: Final = 0.05
"""A detector returns all boxes with at least this score (`Output.boxes`). Higher thresholds apply at build."""
_MOST_DIGITS = 40
Form = Literal["text", "choices", "json_schema", "scores", "boxes", "likelihood"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Output:
    """What a request asks an engine for. At most one of `choices`, `json_schema`, `scores` and `boxes` is set; none:
    free text.

    `json_schema` is a JSON Schema (draft 2020-12) as UTF-8 JSON. `logprobs` asks for log-probabilities: of each token
    of the answer or, with `choices`, of the choices.

    `embeddings`, with `scores`, allows requests about one thing only: an image with an empty prompt, or a prompt
    without an image. Their scores are its embedding.

    `boxes` asks a detector for places of the phrases in the lines of the prompt (`Completion.boxes`).

    `likelihood` asks for the log-probabilities of a text that the request names (`Request.statement`). This takes one
    prefill, and no text is generated. It may be set together with `choices` and `logprobs`: one request then returns
    both.

    `special_tokens`, with free text only, keeps the special tokens of the answer, except its end token. Some grounding
    models write boxes as special tokens.

    Raises ConfigError for a form that no engine can return.
    """

    choices: tuple[str, ...] = ()
    json_schema: bytes | None = None
    scores: bool = False  # no text: the numbers of a dual encoder
    boxes: bool = False  # no text: the boxes of a detector
    embeddings: bool = False
    logprobs: bool = False
    likelihood: bool = False
    special_tokens: bool = False

    def __post_init__(self) -> None:
        given = [
            name
            for name, is_set in (
                ("choices", self.choices),
                ("json_schema", self.json_schema is not None),
                ("scores", self.scores),
                ("boxes", self.boxes),
            )
            if is_set
        ]
        if len(given) > 1:
            raise ConfigError(f"output: {' and '.join(given)} are set; at most one of them is allowed")
        if self.embeddings and not self.scores:
            raise ConfigError("output: embeddings are returned as scores; set scores too")
        if self.logprobs and not self.is_text:
            raise ConfigError(
                f"output: {self.form} have no log-probabilities; set only one of {self.form} and logprobs"
            )
        if self.likelihood and (not self.is_text or self.json_schema is not None):
            raise ConfigError("output: likelihood goes with choices only; remove scores and json_schema")
        if self.special_tokens and (self.form != "text" or self.logprobs):
            raise ConfigError(
                f"output: special_tokens goes with free text only; it is {self.form}"
                f"{' with logprobs' if self.logprobs else ''}"
            )
        if self.likelihood and self.choices and not self.logprobs:
            raise ConfigError("output: likelihood and choices need logprobs; set logprobs too")
        if self.choices:
            _check_choices(self.choices)
        if self.json_schema is not None:
            _validator(self.json_schema)

    @property
    def is_text(self) -> bool:
        """Whether the model writes the answer."""
        return not (self.scores or self.boxes)

    @property
    def form(self) -> Form:
        if self.choices:
            return "choices"
        if self.json_schema is not None:
            return "json_schema"
        if not self.is_text:
            return "scores" if self.scores else "boxes"
        return "likelihood" if self.likelihood else "text"


TEXT = Output()


def value_of(output: Output, text: str) -> Any:
    """The value of an answer: the choice, the JSON value, or the text itself.

    Surrounding white space does not matter, JSON may be in a Markdown fence, and its strings may hold raw control
    characters, which xgrammar's grammars allow. Strings are made storable. Raises ValueError, whose message quotes the
    answer, for a text that is not one of the choices, is not JSON, or is JSON that does not fit the schema.
    """
    if output.choices:
        choice = text.strip()
        if choice not in output.choices:
            raise ValueError(
                f"the answer {_quoted(text)} is none of the choices {', '.join(map(repr, output.choices))}"
            )
        return choice
    if output.json_schema is None:
        return text
    try:
        value = _storable(
            json.loads(
                _unfenced(text),
                strict=False,
                parse_constant=_refuse_constant,
                parse_int=_whole_number,
                parse_float=_number,
            )
        )
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the answer {_quoted(text)} is not JSON: {error}") from None
    mismatch = next(_validator(output.json_schema).iter_errors(value), None)
    if mismatch is not None:
        raise ValueError(f"the answer {_quoted(text)} does not fit the JSON schema: {mismatch.message[:200]}")
    return value


def _storable(value: Any) -> Any:
    """The value without NUL and lone surrogates, which JSON can escape and no store can hold."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(name): _storable(item) for name, item in value.items()}
    return value


def _whole_number(digits: str) -> int:
    """Raises ValueError for a number that does not fit in 64 bits: it could not be stored."""
    value = int(digits) if len(digits) <= _MOST_DIGITS else None
    if value is None or not -(2**63) <= value < 2**64:
        raise ValueError(f"the number {digits[:_MOST_DIGITS]} is too large")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"the number {digits[:_MOST_DIGITS]} is too large")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _check_choices(choices: Collection[str]) -> None:
    if any(not choice or choice != choice.strip() for choice in choices):
        raise ConfigError("output.choices: a choice must not be empty, and must not begin or end with white space")
    if len(set(choices)) < len(choices):
        raise ConfigError(f"output.choices must differ, got {', '.join(map(repr, choices))}")


@functools.lru_cache(64)
def _validator(schema: bytes) -> Any:
    from jsonschema import Draft202012Validator, SchemaError

    try:
        parsed = orjson.loads(schema)
        Draft202012Validator.check_schema(parsed)
    except (orjson.JSONDecodeError, SchemaError) as error:
        message = error.message if isinstance(error, SchemaError) else str(error)
        raise ConfigError(f"output.json_schema is not a JSON schema: {message}") from None
    return Draft202012Validator(parsed)


def _unfenced(text: str) -> str:
    text = text.strip()
    if not (text.startswith("```") and text.endswith("```") and "\n" in text):
        return text
    return text[text.index("\n") : -3]


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 100 else f"{text[:100]}…")
