"""The retry ladder: turns the completions of a request into an answer, another attempt, or a reject."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from recaption.engine.base import Completion, Request
from recaption.engine.column import read_column
from recaption.engine.completion import finish_reason
from recaption.errors import ImageError, RequestError, RequestTimeout
from recaption.tasks.caption import clean
from recaption.tasks.question import UnitRequest
from recaption.text import storable
from recaption.types import DECODE_REASONS, Answer, Attempt, FinishReason, Reason, Reject, stage_of

Generate = Callable[[Request], Awaitable[Completion]]

_REASONS: dict[FinishReason, Reason] = {
    "empty": "empty_answer",
    "repetition": "repetition",
    "refusal": "refusal",
    "length": "truncated_answer",
    "error": "request_error",
}
DEGENERATE: frozenset[FinishReason] = frozenset({"empty", "repetition", "refusal"})
"""Finish reasons of unusable texts. The circuit breaker counts them."""
_OF_THE_IMAGE = DECODE_REASONS | {"changed", "unreadable"}

_REFUSAL = re.compile(
    r"(?:(?:i['’]m|i am|we['’]re|we are) (?:very |really |so )?(?:sorry|afraid)\b|sorry,? (?:but )?(?:i|we)(?:['’]m)? )"
    r".{0,60}?\b(?:can(?:no|['’])t|unable|not able)\b"
    r"|as an? (?:ai|(?:large )?language model)\b(?!-)"
    r"|(?:unfortunately,? |i apologi[sz]e,? (?:but )?)?"
    r"i(?: can(?:no|['’])t| won['’]t| will not| must decline to|(?: am|['’]m) (?:unable|not able) to) (?:\w+ly )?"
    r"(?:help|assist|describe|provide|comply|identify|process|view|see|do|answer|fulfil|fulfill|generate|create|discuss"
    r"|analy[sz]e|caption|fulfil)\b",
    re.IGNORECASE | re.DOTALL,
)
_QUOTED = re.compile(r"([\"'*“_]+)(.*)[\"'*”_]+", re.DOTALL)
_REFUSAL_WORDS = 60  # a longer text that begins like a refusal still holds a description


async def answer_with_retries(request: UnitRequest, first: Request | None, generate: Generate) -> Answer | Reject:
    """Send a request up to `question.attempts` times. `first` is its `first_attempt`. Raises EngineDead.

    The first attempt uses the sampling of the pipeline. The second one has another seed and a higher temperature; later
    ones also show the image with fewer pixels. Every attempt is stored with the answer. A timeout (RequestTimeout) ends
    the attempts.
    """
    question, image = request.question, request.image
    if first is None:
        detail = f"{image.detail}: {request.error}" if image.detail and not image.columns else str(request.error)
        return reject(request, "request_error", detail)
    attempts: list[Attempt] = []
    for number in range(question.attempts):
        current = first if number == 0 else _later_attempt(request, first, number)
        try:
            completion = await generate(current)
        except ImageError as error:
            return reject(request, error.reason, str(error), attempts)
        except RequestError as error:
            attempts.append(_attempt(current, "error", 0, str(error)))
            if isinstance(error, RequestTimeout) or "error" not in question.retry.on:
                break
            await asyncio.sleep(0)
            continue
        finish = classify(completion)
        attempts.append(_attempt(current, finish, completion.output_tokens, None))
        if finish in question.retry.on:
            continue
        if finish in ("stop", "length"):
            return _answer(request, completion, finish, attempts)
        break
    last = attempts[-1]
    detail = last.detail or f"the answer was of kind {last.finish_reason!r} in each of {len(attempts)} attempts"
    return reject(request, _REASONS[last.finish_reason], detail, attempts)


def answer_from_column(request: UnitRequest) -> Answer | Reject:
    """The answer in a column of the source: no attempts, no tokens, and no check for refusals.

    An empty column is rejected as `empty_answer`, a value that is not a text as `request_error`.
    """
    image, column = request.image, request.question.generation.column
    assert column is not None
    try:
        completion = read_column(image, column)
    except RequestError as error:
        return reject(request, "request_error", str(error))
    if clean(completion.text).text:
        return _answer(request, completion, finish_reason(completion.finish_reason), ())
    if image.columns.get(column) is not None:
        detail = f"column {column!r} holds no caption"
    elif not image.columns and image.detail:  # such as an image that is in no table
        detail = f"{image.detail}, so it has no column {column!r}"
    else:
        detail = f"column {column!r} {'is null' if column in image.columns else 'is missing'}"
    return reject(request, "empty_answer", detail)


def first_attempt(request: UnitRequest, data: bytes) -> Request | None:
    """The first attempt of a request about the image in `data`; None if its prompt cannot be filled in.

    The seed is a pure function of the pipeline's seed, the image, the question and the number of the attempt.
    """
    sampling, image = request.question.generation.sampling, request.image
    if request.prompt is None:
        return None
    assert sampling is not None
    return Request(
        image=data,
        sha256=image.sha256,
        prompt=request.prompt,
        sampling=replace(sampling, seed=_seed(request, sampling.seed, 0)),
        orientation=image.orientation,
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
    digest = hashlib.sha256(f"{base}/{subject}/{question.id}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


def classify(completion: Completion) -> FinishReason:
    """The engine's finish reason, but `empty` for a text that cleaning empties, and `refusal` for a refusal.

    The cleaned text only decides this. The model's own text is stored.
    """
    text, finish = clean(completion.text).text, finish_reason(completion.finish_reason)
    if not text:
        return finish if finish in ("refusal", "error") else "empty"
    if finish in ("stop", "length") and is_refusal(text):
        return "refusal"
    return finish


def is_refusal(text: str) -> bool:
    """Whether a text is short and begins with the words of a refusal.

    A caption may contain such words ("a sign that says: I can't help falling in love") but does not begin with them.
    """
    text = text.strip()
    if quoted := _QUOTED.fullmatch(text):  # quotes around the whole text; others are quotes from the image
        text = quoted.group(2)
    return len(text.split()) <= _REFUSAL_WORDS and _REFUSAL.match(text) is not None


def reject(request: UnitRequest, reason: Reason, detail: str, attempts: Sequence[Attempt] = ()) -> Reject:
    """The reject of a request. It has no `prompt_sha256` if the image is the cause: all prompts would fail."""
    of_image = reason in _OF_THE_IMAGE
    return Reject.of(
        request.image,
        stage=stage_of(reason) if of_image else "generate",
        generation=request.question.id,
        reason=reason,
        detail=storable(detail)[:500],
        attempts=len(attempts),
        prompt_sha256=None if of_image else request.prompt_sha256,
    )


def _answer(request: UnitRequest, completion: Completion, finish: FinishReason, attempts: Sequence[Attempt]) -> Answer:
    return Answer(
        key=request.image.key,
        sha256=request.image.sha256,
        row=request.image.row,
        text=completion.text,
        finish_reason=finish,
        prompt_tokens=completion.prompt_tokens,
        output_tokens=completion.output_tokens,
        prompt_sha256=request.prompt_sha256,
        attempts=tuple(attempts),
        engine_finish=completion.engine_finish,
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
