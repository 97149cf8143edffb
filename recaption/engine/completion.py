"""Makes the completions of all engines storable."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, Final

import orjson

from recaption.engine.base import Completion, Engine, Rendered, Request
from recaption.errors import InvalidAnswer, RequestError
from recaption.tasks.output import TEXT, Output, value_of
from recaption.text import fitted, storable
from recaption.types import FinishReason, Logprobs

_MOST_TOKENS = 2**31 - 1  # the columns of the answer store are int32
_PART_TEXTS: Final = ("text", "refusal", "content")  # fields of a content part that hold its text
_LONGEST_WORD = 64  # characters of an engine's finish reason that are kept
_SKIPPED: Final = re.compile(
    r"think|reason|thought|tool|image|audio", re.IGNORECASE
)  # types of content parts that are not part of the answer
# Finish reasons of OpenAI, vLLM, SGLang, TGI, Anthropic, Gemini, Mistral, Cohere, DeepSeek, GLM and Bedrock, in lower
# case with "_" for "-", spaces and camel case. `_CUT` covers variants; all others count as `stop`.
_WORDS: Final[dict[FinishReason, str]] = {
    "length": (
        "length max_tokens max_length max_output_tokens max_new_tokens max_completion_tokens model_length token_limit "
        "model_context_window_exceeded context_length_exceeded error_limit limit incomplete"
    ),
    "refusal": (
        "refusal content_filter content_filtered safety image_safety prohibited_content image_prohibited_content "
        "blocklist spii recitation error_toxic sensitive guardrail_intervened guardrails "
        "content_moderation moderation flagged"
    ),
    "repetition": "repetition",
    "empty": "empty",
    "error": (
        "error abort aborted cancelled canceled timeout network_error failed insufficient_system_resource "
        "internal_error"
    ),
}
_CUT: Final = re.compile(
    r"max_(?:\w+_)?(?:tokens|length)|(?:length|tokens?|time|size)_limit|context_(?:window|length)|^length_"
)
_FINISH: Final[dict[str, FinishReason]] = {word: reason for reason, words in _WORDS.items() for word in words.split()}


async def complete(engine: Engine, work: Request | Rendered) -> Completion:
    """The storable completion of `work`. Raises what `Engine.generate` raises."""
    return accept(await engine.generate(work), work.output)


def accept(completion: Completion, output: Output = TEXT) -> Completion:
    """The completion with a storable text, a `FinishReason`, and counts that fit their columns.

    NUL is removed, a lone surrogate becomes U+FFFD. A text of more than `text.LONGEST` bytes loses the white space and
    the invisible characters around it. If it is still longer, it is cut there and ends with `length`. A content of
    several parts (OpenAI's, Mistral's) is joined: see `text_of`. A text that is changed loses its log-probabilities.

    Raises RequestError for what is not a text, and InvalidAnswer for a complete text that is not of the form of
    `output`: none of the choices, no JSON, or JSON of another schema. JSON that was cut off keeps its finish reason
    `length`.
    """
    raw = completion.finish_reason
    text, finish = storable(text_of(completion.text)), finish_reason(raw)
    text, was_cut = fitted(text)
    finish = "length" if was_cut else finish
    if text and (finish == "stop" or (output.choices and finish == "length")):
        try:
            value_of(output, text)
        except ValueError as error:
            raise InvalidAnswer(str(error)) from None
    original = completion.engine_finish if completion.engine_finish is not None else raw
    return replace(
        completion,
        text=text,
        finish_reason=finish,
        engine_finish=None if original is None else storable(_word(original))[:_LONGEST_WORD],
        prompt_tokens=_count(completion.prompt_tokens),
        output_tokens=_count(completion.output_tokens),
        cached_tokens=_count(completion.cached_tokens),
        logprobs=_fitting(completion.logprobs) if text == completion.text else None,
    )


def _fitting(logprobs: Logprobs | None) -> Logprobs | None:
    """The log-probabilities, if they have a number of bytes for each token."""
    if logprobs is None or len(logprobs.tokens) != len(logprobs.nbytes) or min(logprobs.nbytes, default=0) < 0:
        return None
    return logprobs


def finish_reason(word: Any) -> FinishReason:
    """The `FinishReason` for an engine's finish reason. Unknown ones and None are `stop`.

    The retry ladder then checks for empty texts and refusals.
    """
    name = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]+", "_", _word(word).strip()).lower()
    name = re.sub(r"^finish_?reason[_.]", "", name)
    return _FINISH.get(name, "length" if _CUT.search(name) else "stop")


def text_of(content: Any) -> str:
    """The text of a chat message's content: a string, null, one part or a list of parts.

    Parts with thoughts, tool calls and media are skipped. An object that is not a part is an answer in JSON, which the
    server has parsed: its text is that JSON. Raises RequestError for anything else.
    """
    return "".join(_part(part) for part in (content if isinstance(content, list) else [content]))


def _part(part: Any) -> str:
    if isinstance(part, dict):
        if _SKIPPED.search(str(part.get("type"))):
            return ""
        found = next((part[name] for name in _PART_TEXTS if part.get(name) is not None), None)
        if found is None and part and part.keys().isdisjoint((*_PART_TEXTS, "type")):
            try:
                return orjson.dumps(part, option=orjson.OPT_NON_STR_KEYS).decode()
            except TypeError as error:  # lone surrogates, integers of more than 64 bits
                raise RequestError(f"the engine returned an object that is not JSON text: {error}") from None
        part = found.get("value") if isinstance(found, dict) else found  # OpenAI's Assistants: {"text": {"value": …}}
    if not isinstance(part, str | None):
        raise RequestError(f"the engine returned content of type {type(part).__name__}, not a text")
    return part or ""


def _word(value: Any) -> str:
    if isinstance(value, dict):  # the format of SGLang: {"type": "stop", "matched": 151645}
        value = value.get("type", value.get("reason"))
    return "" if value is None else str(value)


def _count(value: Any) -> int:
    """A number of tokens; 0 (unknown) for values that are not one."""
    if isinstance(value, float) and value.is_integer():  # servers without integers
        value = int(value)
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS
    return value if is_count else 0
