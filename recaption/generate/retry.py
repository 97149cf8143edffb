"""The retry ladder: turns the completions of a request into an answer, another attempt, or a reject."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import get_args

import orjson

from recaption.engine.base import Completion, Request
from recaption.engine.column import read_column
from recaption.engine.completion import finish_reason
from recaption.errors import ImageError, InvalidAnswer, RequestError, RequestTimeout
from recaption.formatting import number_of
from recaption.guard import Failed, attempt
from recaption.tasks.base import WHOLE_IMAGE, Parsed
from recaption.tasks.cleaning import clean
from recaption.tasks.question import UnitRequest
from recaption.tasks.stored_logprobs import stored_logprobs
from recaption.text import storable
from recaption.types import DECODE_REASONS, Answer, Attempt, FinishReason, Reason, Reject, stage_of

Generate = Callable[[Request], Awaitable[Completion]]

_REASONS: dict[FinishReason, Reason] = {
    "empty": "empty_answer",
    "repetition": "repetition",
    "refusal": "refusal",
    "length": "truncated_answer",
    "error": "request_error",
    "invalid": "invalid_answer",
    "unclear": "unclear",
}
_ALWAYS_RETRIED: frozenset[FinishReason] = frozenset({"invalid", "unclear"})  # faults that a task finds
DEGENERATE: frozenset[FinishReason] = frozenset({"empty", "repetition", "refusal"})
"""Finish reasons of unusable texts. The circuit breaker counts them."""
_OF_THE_IMAGE = DECODE_REASONS | {"changed", "unreadable"}


async def answer_with_retries(request: UnitRequest, first: Request | None, generate: Generate) -> Answer | Reject:
    """Send a request up to `question.attempts` times. `first` is its `first_attempt`. Raises EngineDead.

    The first attempt uses the sampling of the pipeline. The second one has another seed and a higher temperature; later
    ones also show the image with fewer pixels. Every attempt is stored with the answer. A timeout (RequestTimeout) ends
    the attempts.
    """
    question, image = request.question, request.image
    is_json = question.output_of(request.unit).json_schema is not None
    if first is None:
        if image.not_in_table:
            return reject(request, "not_in_table", f"{image.detail}: {request.error}")
        return reject(request, "request_error", str(request.error))
    attempts: list[Attempt] = []
    reason: Reason | None = None
    for number in range(question.attempts):
        current, reason = first if number == 0 else _later_attempt(request, first, number), None
        try:
            completion = await generate(current)
        except ImageError as error:
            return reject(request, error.reason, str(error), attempts)
        except RequestError as error:
            finish: FinishReason = "invalid" if isinstance(error, InvalidAnswer) else "error"
            attempts.append(_attempt(current, finish, 0, str(error)))
            if isinstance(error, RequestTimeout) or (finish not in question.retry.on and finish not in _ALWAYS_RETRIED):
                break
            await asyncio.sleep(0)
            continue
        completion = replace(completion, finish_reason=finish_reason(completion.finish_reason))
        parsed = parse(request, completion)
        attempts.append(_attempt(current, parsed.finish, completion.output_tokens, parsed.detail))
        reason = parsed.reason
        cut = parsed.finish == "length" and is_json  # an incomplete value
        if cut or parsed.finish in question.retry.on or parsed.finish in _ALWAYS_RETRIED:
            continue
        if parsed.finish in ("stop", "length"):
            return _answer(request, completion, parsed, attempts)
        break
    last = attempts[-1]
    detail = last.detail or f"the answer was of kind {last.finish_reason!r} in {number_of(len(attempts), 'attempt')}"
    return reject(request, reason or _REASONS[last.finish_reason], detail, attempts)


def parse(request: UnitRequest, completion: Completion) -> Parsed:
    """What the task makes of a completion. If the task fails on it, or its result cannot be stored, it is invalid."""
    parsed = attempt(lambda: _storable(request.question.task.parse(request.unit, completion)))
    return Parsed(finish="invalid", detail=f"the task failed: {parsed.error}") if isinstance(parsed, Failed) else parsed


def stored_value(parsed: Parsed) -> str | None:
    """The value as it is stored with an answer: JSON."""
    return None if parsed.value is None else orjson.dumps(parsed.value).decode()


def _storable(parsed: Parsed) -> Parsed:
    """Raises TypeError or ValueError for what a task must not return."""
    if not isinstance(parsed, Parsed):
        raise TypeError(f"parse returned {type(parsed).__name__}, not Parsed")
    if parsed.finish not in get_args(FinishReason) or parsed.reason not in (None, *get_args(Reason)):
        raise ValueError(f"parse returned an unknown finish or reason: {parsed.finish}, {parsed.reason}")
    orjson.dumps(parsed.value)
    return parsed


def answer_from_column(request: UnitRequest) -> Answer | Reject:
    """The answer in a column of the source: no attempts and no tokens.

    An empty column is rejected as `empty_answer` (`not_in_table` if no table names the image), a value that is not a
    text as `request_error`.
    """
    image, column = request.image, request.question.generation.column
    assert column is not None
    try:
        completion = read_column(image, column, request.question.output_of(request.unit))
    except InvalidAnswer as error:
        return reject(request, "invalid_answer", str(error))
    except RequestError as error:
        return reject(request, "request_error", str(error))
    task = request.question.task
    if clean(completion.text).text:
        # Captions that exist are not checked for refusals.
        parsed = Parsed(finish="stop") if task.makes_captions else parse(request, completion)
        if parsed.finish in ("stop", "length"):
            return _answer(request, completion, parsed, ())
        return reject(request, parsed.reason or _REASONS[parsed.finish], parsed.detail or "")
    if image.columns.get(column) is not None:
        detail = f"column {column!r} holds no caption"
    elif image.not_in_table:
        return reject(request, "not_in_table", f"{image.detail}, so it has no column {column!r}")
    else:
        detail = f"column {column!r} {'is null' if column in image.columns else 'is missing'}"
    return reject(request, "empty_answer", detail)


def first_attempt(request: UnitRequest, data: bytes) -> Request | None:
    """The first attempt of a request about the image in `data`; None if its prompt cannot be filled in.

    A task that needs no image gets a request without one, and so does a unit that embeds a text.

    The seed is a pure function of the pipeline's seed, the image, the question and the number of the attempt.
    """
    sampling, image = request.question.generation.sampling, request.image
    if request.prompt is None:
        return None
    assert sampling is not None
    sampling = replace(sampling, seed=_seed(request, sampling.seed, 0))
    output = request.question.output_of(request.unit)
    if "image" not in request.question.task.needs or request.unit.embeds == "text":
        return Request(prompt=request.prompt, sampling=sampling, output=output, statement=request.unit.statement)
    return Request(
        image=data,
        sha256=image.sha256,
        prompt=request.prompt,
        sampling=sampling,
        orientation=image.orientation,
        crop=request.unit.crop,
        output=output,
        statement=request.unit.statement,
    )


def _later_attempt(request: UnitRequest, first: Request, number: int) -> Request:
    base, retry = request.question.generation.sampling, request.question.retry
    assert base is not None
    sampling = replace(
        base, seed=_seed(request, base.seed, number), temperature=max(base.temperature, retry.temperature)
    )
    return replace(first, sampling=sampling, pixel_share=retry.pixel_share ** (number - 1))


def _seed(request: UnitRequest, base: int, number: int) -> int:
    question, image = request.question, request.image
    subject = image.sha256 if question.dedupe else f"{image.sha256}/{image.key}"
    if request.unit is not WHOLE_IMAGE:
        subject += f"/{request.prompt_sha256}"
    digest = hashlib.sha256(f"{base}/{subject}/{question.id}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


def reject(request: UnitRequest, reason: Reason, detail: str, attempts: Sequence[Attempt] = ()) -> Reject:
    """The reject of a request. It has no `prompt_sha256` if the image is the cause, because all prompts would fail.
    Rejects of a question about units always have one, because other units of the image may be answered."""
    of_image = reason in _OF_THE_IMAGE
    whole = of_image and not request.question.per_unit
    return Reject.of(
        request.image,
        stage=stage_of(reason) if of_image else "generate",
        generation=request.question.id,
        reason=reason,
        detail=storable(detail)[:500],
        attempts=len(attempts),
        prompt_sha256=None if whole else request.prompt_sha256,
        unit=None if whole else request.unit.id or None,
    )


def _answer(request: UnitRequest, completion: Completion, parsed: Parsed, attempts: Sequence[Attempt]) -> Answer:
    logprobs = completion.logprobs if request.question.logprobs else None
    return Answer(
        key=request.image.key,
        sha256=request.image.sha256,
        row=request.image.row,
        text=completion.text,
        finish_reason=parsed.finish,
        prompt_tokens=completion.prompt_tokens,
        output_tokens=completion.output_tokens,
        prompt_sha256=request.prompt_sha256,
        attempts=tuple(attempts),
        engine_finish=completion.engine_finish,
        unit=request.unit.id or None,
        value=stored_value(parsed),
        logprobs=None if logprobs is None else stored_logprobs(logprobs),
        embedding=parsed.embedding,
    )


def _attempt(sent: Request, finish: FinishReason, tokens: int, detail: str | None) -> Attempt:
    return Attempt(
        seed=sent.sampling.seed,
        temperature=sent.sampling.temperature,
        finish_reason=finish,
        output_tokens=tokens,
        detail=storable(detail)[:500] if detail else None,
        pixel_share=sent.pixel_share if sent.pixel_share < 1 else None,
    )
