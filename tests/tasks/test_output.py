"""recaption.tasks.output: forms of answers, and which texts have them."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from recaption.errors import ConfigError
from recaption.tasks.output import TEXT, Output, value_of

SCHEMA = b'{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}'


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"choices": ("yes",), "json_schema": SCHEMA}, "choices and json_schema are set; at most one"),
        ({"choices": ("yes",), "scores": True}, "choices and scores are set"),
        ({"scores": True, "logprobs": True}, "scores have no log-probabilities"),
        ({"embeddings": True}, "embeddings are returned as scores"),
        ({"likelihood": True, "scores": True}, "likelihood goes with choices only"),
        ({"likelihood": True, "choices": ("yes", "no")}, "likelihood and choices need logprobs"),
        ({"special_tokens": True, "choices": ("yes", "no")}, "special_tokens goes with free text only; it is choices"),
        ({"special_tokens": True, "logprobs": True}, "special_tokens .* it is text with logprobs"),
        ({"choices": ("yes", "")}, "must not be empty"),
        ({"choices": ("yes", " no")}, "white space"),
        ({"choices": ("yes", "yes")}, "must differ"),
        ({"json_schema": b"{"}, "not a JSON schema"),
        ({"json_schema": b'{"type":"number of cats"}'}, "not a JSON schema: .*number of cats"),
    ],
)
def test_a_form_that_no_engine_returns_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Output(**fields)


def test_the_form_of_an_output() -> None:
    assert Output() == TEXT and TEXT.form == "text" and Output(logprobs=True).form == "text"
    assert Output(choices=("a",)).form == "choices" and Output(scores=True).form == "scores"
    assert Output(json_schema=SCHEMA).form == "json_schema"


def test_the_value_of_a_text() -> None:
    yes_no = Output(choices=("yes", "no"))
    assert value_of(TEXT, " A cat. ") == " A cat. "
    assert value_of(yes_no, " no\n") == "no"
    for text in ('{"n": 3}', '```json\n{"n":3}\n```', '\n```\n{"n":3}```'):
        assert value_of(Output(json_schema=SCHEMA), text) == {"n": 3}
    for text in ("No", "yes, it is", ""):
        with pytest.raises(ValueError, match="none of the choices 'yes', 'no'"):
            value_of(yes_no, text)
    with pytest.raises(ValueError, match=r"the answer 'There are three\.' is not JSON"):
        value_of(Output(json_schema=SCHEMA), "There are three.")
    free = Output(json_schema=b"{}")
    assert value_of(free, '"a\tb\n"') == "a\tb\n"  # raw control characters, as xgrammar allows them
    assert value_of(free, '{"a\\u0000": ["\\ud83d\\ude00", "\\ud800", 1.5, null]}') == {
        "a": ["\U0001f600", "\ufffd", 1.5, None]
    }
    for text in ("NaN", "[" * 100_000, '{"n": 1} and more', '<think>One.</think>{"n": 1}'):  # as docs/models.md says
        with pytest.raises(ValueError, match="is not JSON"):
            value_of(free, text)
    with pytest.raises(ValueError, match="does not fit the JSON schema: 'three' is not of type 'integer'"):
        value_of(Output(json_schema=SCHEMA), '{"n": "three"}')


def test_a_number_that_cannot_be_stored_is_refused() -> None:
    """orjson writes integers of 64 bits; of a greater float, JSON has nothing but null."""
    numbers = Output(json_schema=b'{"type":"array","items":{"type":"number"}}')
    most = [-(2**63), 2**64 - 1, 1.5e308]
    assert value_of(numbers, json.dumps(most)) == most and orjson.loads(orjson.dumps(most)) == most
    for text in (str(2**64), str(-(2**63) - 1), "9" * 5000, "1e999", "-1e999"):
        with pytest.raises(ValueError, match=r"is not JSON: the number .{3,41} is too large"):
            value_of(numbers, f"[{text}]")
