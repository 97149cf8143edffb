"""The border where a completion enters: text, finish reason and counts are made storable for every engine."""

from __future__ import annotations

from typing import Any

import pytest

from recaption.engine.base import Completion, Logprobs
from recaption.engine.completion import accept, finish_reason
from recaption.errors import RequestError
from recaption.tasks.output import Output
from recaption.text import LONGEST


def accepted(text: Any = "A cup.", finish: Any = "stop", **counts: Any) -> Completion:
    return accept(Completion(text=text, finish_reason=finish, **{"prompt_tokens": 9, "output_tokens": 3, **counts}))


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("A lone \ud800 cat", "A lone \ufffd cat"),
        ("cut at \ud83d", "cut at \ufffd"),
        ("\ude00 and \ud83d\ude00", "\ufffd and \U0001f600"),
        ("a\0b", "ab"),
        (" \r\n e\u0301 ", " \r\n e\u0301 "),
        (None, ""),
        ([{"type": "text", "text": "a \ud83d"}, {"type": "text", "text": "\ude00"}], "a \U0001f600"),
        ([{"type": "reasoning", "text": "hm"}, "A ", {"text": "cup."}], "A cup."),
        ([{"type": "text", "text": {"value": "A cup.", "annotations": []}}], "A cup."),
        ([{"type": "text", "content": "A cup."}], "A cup."),
        ([{"type": "text", "text": None}, {"type": "image_url", "image_url": {}}], ""),
        ({"caption": "A cup."}, '{"caption":"A cup."}'),
    ],
)
def test_a_text_is_storable_and_else_the_models_own(text: Any, stored: str) -> None:
    found = accepted(text)
    assert found.text == stored
    assert found.text.encode("utf-8").decode("utf-8") == stored


@pytest.mark.parametrize("text", [7, b"bytes", [["nested"]], {"text": 1}])
def test_what_is_no_text_is_refused(text: Any) -> None:
    with pytest.raises(RequestError, match="not a text"):
        accepted(text)


@pytest.mark.parametrize("value", ["a \ud83d", 2**70])
def test_an_object_that_cannot_be_written_as_json_is_refused(value: Any) -> None:
    with pytest.raises(RequestError, match="not JSON text"):
        accepted({"caption": value})


def test_a_text_above_the_limit_is_cut_at_a_character_and_ends_with_length() -> None:
    found = accepted("\u00e9" * LONGEST)
    assert found.text == "\u00e9" * (LONGEST // 2)
    assert (found.finish_reason, found.engine_finish) == ("length", "stop")
    assert accepted("a" * LONGEST).finish_reason == "stop"


@pytest.mark.parametrize("blank", [" ", "\n", "\u3000", "\u200b", " \ufeff"])
def test_white_space_around_a_text_is_no_reason_to_cut_it(blank: str) -> None:
    padding = blank * (2**20 // len(blank.encode()))
    for text in (f"{padding}A cup.", f"A cup.{padding}", f"{padding}A cup.{padding}"):
        found = accepted(text)
        assert (found.text, found.finish_reason, found.engine_finish) == ("A cup.", "stop", "stop")
    found = accepted(padding + "a" * (LONGEST + 1))
    assert (found.text, found.finish_reason) == ("a" * LONGEST, "length")
    assert accepted(padding).text == ""


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        *(
            (word, "stop")
            for word in ("stop", "eos", "STOP", "end_turn", "eos_token", "COMPLETE", "tool_calls", "", None)
        ),
        *(
            (word, "length")
            for word in (
                "length",
                "max_tokens",
                "MAX_TOKENS",
                "MAX TOKENS",
                "model_length",
                "max-length",
                "FinishReason.MAX_TOKENS",
                "maxOutputTokens",
                "max_new_tokens_reached",
                "context_window_exceeded",
                "length_limit",
                "time_limit",
            )
        ),
        *((word, "refusal") for word in ("content_filter", "SAFETY", "refusal", "PROHIBITED_CONTENT", "guardrails")),
        *((word, "error") for word in ("error", "abort", "insufficient_system_resource")),
        ("repetition", "repetition"),
        ("empty", "empty"),
        ({"type": "length", "length": 64}, "length"),
        ({"reason": "MAX_TOKENS"}, "length"),
        (7, "stop"),
        (["stop"], "stop"),
    ],
)
def test_a_foreign_finish_word_is_one_of_ours(word: Any, reason: str) -> None:
    assert finish_reason(word) == reason
    found = accepted(finish=word)
    assert found.finish_reason == reason
    if isinstance(word, str):
        assert found.engine_finish == word


def test_a_finish_word_is_storable_and_short() -> None:
    assert accepted(finish="\ud800" + "x" * 100).engine_finish == "\ufffd" + "x" * 63
    assert accepted(finish=None).engine_finish is None


@pytest.mark.parametrize(
    ("given", "kept"),
    [(10**12, 0), (2**31 - 1, 2**31 - 1), (-5, 0), (None, 0), ("20", 0), (True, 0), (7.5, 0), (7.0, 7), (7, 7)],
)
def test_counts_fit_their_columns(given: Any, kept: int) -> None:
    found = accepted(prompt_tokens=given, output_tokens=given, cached_tokens=given)
    assert (found.prompt_tokens, found.output_tokens, found.cached_tokens) == (kept, kept, kept)


def test_an_answer_has_the_form_that_was_asked_for() -> None:
    def accepted_as(output: Output, text: str, finish: str = "stop") -> Completion:
        return accept(Completion(text=text, finish_reason=finish, prompt_tokens=9, output_tokens=3), output)

    yes_no, numbers = Output(choices=("yes", "no")), Output(json_schema=b'{"type":"array","items":{"type":"integer"}}')
    assert accepted_as(yes_no, "yes").text == "yes" and accepted_as(numbers, "[1, 2]").text == "[1, 2]"
    for output, text in ((yes_no, "Perhaps."), (numbers, "One and two."), (numbers, '["1"]')):
        with pytest.raises(RequestError, match="the answer"):
            accepted_as(output, text)
    with pytest.raises(RequestError, match="none of the choices"):
        accepted_as(yes_no, "y", "length")
    # The retry ladder decides about these.
    assert accepted_as(numbers, "[1, 2, ", "length").finish_reason == "length"
    assert accepted_as(yes_no, "").text == "" and accepted_as(yes_no, "No comment.", "content_filter").text


def test_a_text_that_is_changed_loses_its_logprobs() -> None:
    """Their byte lengths would no longer sum to the text."""
    kept = Logprobs(tokens=(-0.5, -1.0), nbytes=(1, 1))
    assert accepted("ab", logprobs=kept).logprobs == kept
    assert accepted("a\0b", logprobs=kept).logprobs is None


@pytest.mark.parametrize("nbytes", [(2,), (1, 1, 1), (3, -1)])
def test_logprobs_without_the_bytes_of_each_token_are_dropped(nbytes: tuple[int, ...]) -> None:
    assert accepted("ab", logprobs=Logprobs(tokens=(-1.0, -2.0), nbytes=nbytes)).logprobs is None
