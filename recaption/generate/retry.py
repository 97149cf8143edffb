"""What becomes of a completion: an answer, another attempt, or a reject. The only place where a text is judged."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace

from recaption.engine.base import Completion, Request
from recaption.engine.completion import finish_reason
from recaption.errors import ImageError, RequestError
from recaption.tasks.caption import clean
from recaption.tasks.question import Question, request_sha256, unfilled_sha256
from recaption.text import storable
from recaption.types import DECODE_REASONS, Answer, Attempt, FinishReason, Image, Reason, Reject, Sampling, stage_of

Ask = Callable[[Request], Awaitable[Completion]]

_REASONS: dict[FinishReason, Reason] = {
    "empty": "empty_answer",
    "repetition": "repetition",
    "refusal": "refusal",
    "length": "truncated_answer",
    "error": "request_error",
}
DEGENERATE: frozenset[FinishReason] = frozenset({"empty", "repetition", "refusal"})
"""Finishes that say that something is wrong with the text: what the circuit breaker counts."""

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
_REFUSAL_WORDS = 60  # a longer text that begins so has said something all the same


async def ask_until_answered(question: Question, image: Image, data: bytes, ask: Ask) -> Answer | Reject:
    """Put a question about one image, at most `question.attempts` times. EngineDead passes through.

    The ladder: as the pipeline says; then with another seed and a higher temperature; then with fewer pixels as well.
    Every attempt is kept with the answer.
    """
    assert question.prompt is not None
    assert question.generation.sampling is not None
    attempts: list[Attempt] = []
    try:
        prompt = question.prompt.fill_in(image.columns)
    except RequestError as error:
        why = f"{image.detail}: {error}" if image.detail and not image.columns else str(error)
        return reject(question, image, "request_error", why, attempts, unfilled_sha256(question.prompt, image))
    prompt_sha256 = request_sha256(image, prompt)
    for number in range(question.attempts):
        request = _request(question, image, data, prompt, number)
        sampling, share = request.sampling, request.pixel_share if request.pixel_share < 1 else None
        try:
            completion = await ask(request)
        except ImageError as error:
            return reject(question, image, error.reason, str(error), attempts)
        except RequestError as error:
            attempts.append(_attempt(sampling, share, "error", 0, str(error)))
            if "error" not in question.retry.on:
                break
            await asyncio.sleep(0)
            continue
        finish = judge(completion)
        attempts.append(_attempt(sampling, share, finish, completion.output_tokens, None))
        if finish in question.retry.on:
            continue
        if finish in ("stop", "length"):
            return Answer(
                key=image.key,
                sha256=image.sha256,
                row=image.row,
                text=completion.text,
                finish_reason=finish,
                prompt_tokens=completion.prompt_tokens,
                output_tokens=completion.output_tokens,
                prompt_sha256=prompt_sha256,
                attempts=tuple(attempts),
                engine_finish=completion.engine_finish,
            )
        break
    last = attempts[-1]
    detail = last.detail or f"the answer was of kind {last.finish_reason!r} in each of {len(attempts)} attempts"
    return reject(question, image, _REASONS[last.finish_reason], detail, attempts, prompt_sha256)


def first_request(question: Question, image: Image, data: bytes) -> Request:
    """What the first attempt asks. Raises RequestError where the prompt cannot be filled in."""
    assert question.prompt is not None
    return _request(question, image, data, question.prompt.fill_in(image.columns), 0)


def _request(question: Question, image: Image, data: bytes, prompt: str, number: int) -> Request:
    """One attempt; its seed is a pure function of (pipeline's seed, image, question, attempt)."""
    base, retry = question.generation.sampling, question.retry
    assert base is not None
    whose = image.sha256 if question.dedupe else f"{image.sha256}/{image.key}"
    digest = hashlib.sha256(f"{base.seed}/{whose}/{question.id}/{number}".encode()).digest()
    temperature = base.temperature if number == 0 else max(base.temperature, retry.temperature)
    sampling = replace(base, seed=int.from_bytes(digest[:4], "little") >> 1, temperature=temperature)
    share = retry.pixel_share ** max(0, number - 1)
    return Request(
        image=data,
        sha256=image.sha256,
        prompt=prompt,
        sampling=sampling,
        pixel_share=share,
        orientation=image.orientation,
    )


def judge(completion: Completion) -> FinishReason:
    """How a completion counts: the engine's own word, but a text of which cleaning leaves nothing is empty, and a text
    may be a refusal. Cleaning (`tasks.caption`) only decides here; what is stored is the model's own string."""
    text, finish = clean(completion.text).text, finish_reason(completion.finish_reason)
    if not text:
        return finish if finish in ("refusal", "error") else "empty"
    if finish in ("stop", "length") and refuses(text):
        return "refusal"
    return finish


def refuses(text: str) -> bool:
    """Whether an answer says that it will not answer: short, and its first words are of that kind.

    A caption may hold such words ("a sign that says: I can't help falling in love"), but does not begin with them.
    """
    text = text.strip()
    if quoted := _QUOTED.fullmatch(text):  # all of it, or else it quotes what the image says
        text = quoted.group(2)
    return len(text.split()) <= _REFUSAL_WORDS and _REFUSAL.match(text) is not None


def reject(
    question: Question,
    image: Image,
    reason: Reason,
    detail: str,
    attempts: list[Attempt],
    prompt_sha256: str | None = None,
) -> Reject:
    """The reject of one image under one question; `prompt_sha256` is None when the image itself is to blame."""
    return Reject.of(
        image,
        stage=stage_of(reason) if reason in DECODE_REASONS | {"changed", "unreadable"} else "generate",
        generation=question.id,
        reason=reason,
        detail=storable(detail)[:500],
        attempts=len(attempts),
        prompt_sha256=prompt_sha256,
    )


def _attempt(sampling: Sampling, share: float | None, finish: FinishReason, tokens: int, detail: str | None) -> Attempt:
    return Attempt(
        seed=sampling.seed,
        temperature=sampling.temperature,
        finish_reason=finish,
        output_tokens=tokens,
        detail=storable(detail)[:500] if detail else None,
        pixel_share=share,
    )
