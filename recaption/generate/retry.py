"""What becomes of a completion: an answer, another attempt, or a reject. The only place where a text is judged."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

from recaption.engine.base import Completion, Request
from recaption.errors import ImageError, RequestError
from recaption.generate.plan import Question
from recaption.prompt import Prompt
from recaption.types import Answer, Attempt, FinishReason, Image, Reason, Reject, Sampling

Ask = Callable[[Request], Awaitable[Completion]]

_REASONS: dict[FinishReason, Reason] = {
    "empty": "empty_answer",
    "repetition": "repetition",
    "refusal": "refusal",
    "length": "truncated_answer",
    "error": "request_error",
}
RETRY_TEMPERATURE = 0.7
"""A greedy answer that failed would fail again; later attempts draw at no less than this."""


async def ask_until_answered(question: Question, image: Image, data: bytes, ask: Ask) -> Answer | Reject:
    """Put a question about one image, at most `question.attempts` times. EngineDead passes through."""
    assert question.prompt is not None
    assert question.generation.sampling is not None
    attempts: list[Attempt] = []
    try:
        prompt = question.prompt.fill_in(image.columns)
    except RequestError as error:
        return reject(question, image, "request_error", str(error), attempts, unfilled_sha256(question.prompt, image))
    prompt_sha256 = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()
    base = question.generation.sampling
    for number in range(question.attempts):
        sampling = _sampling(base, image.sha256, question.id, number)
        try:
            completion = await ask(Request(image=data, sha256=image.sha256, prompt=prompt, sampling=sampling))
        except ImageError as error:
            return reject(question, image, error.reason, str(error), attempts)
        except RequestError as error:
            attempts.append(_attempt(sampling, "error", 0, str(error)))
            await asyncio.sleep(0)
            continue
        finish = judge(completion)
        attempts.append(_attempt(sampling, finish, completion.output_tokens, None))
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
            )
    last = attempts[-1]
    detail = last.detail or f"the answer was of kind {last.finish_reason!r} in each of {len(attempts)} attempts"
    return reject(question, image, _REASONS[last.finish_reason], detail, attempts, prompt_sha256)


def unfilled_sha256(prompt: Prompt, image: Image) -> str:
    """In place of a filled-in prompt where there is none: of the prompt and of the columns that did not fit it."""
    values = {name: image.columns.get(name) for name in sorted(prompt.columns)}
    return hashlib.sha256(f"{prompt.sha256}:{values!r}".encode("utf-8", "surrogatepass")).hexdigest()


def judge(completion: Completion) -> FinishReason:
    """How a completion counts: the engine's own word, but an answer without text is empty."""
    return "empty" if not completion.text.strip() else completion.finish_reason


def reject(
    question: Question,
    image: Image,
    reason: Reason,
    detail: str,
    attempts: list[Attempt],
    prompt_sha256: str | None = None,
) -> Reject:
    """The reject of one image under one question; `prompt_sha256` is None when the image itself is to blame."""
    decode = reason in ("empty", "undecodable", "truncated", "too_small", "too_many_pixels", "extreme_aspect")
    return Reject.of(
        image,
        stage="decode" if decode else "source" if reason in ("changed", "unreadable") else "generate",
        generation=question.id,
        reason=reason,
        detail=detail[:500],
        attempts=len(attempts),
        prompt_sha256=prompt_sha256,
    )


def _sampling(base: Sampling, sha256: str, question: str, number: int) -> Sampling:
    """The sampling of one attempt; its seed is a pure function of (pipeline's seed, image, question, attempt)."""
    digest = hashlib.sha256(f"{base.seed}/{sha256}/{question}/{number}".encode()).digest()
    temperature = base.temperature if number == 0 else max(base.temperature, RETRY_TEMPERATURE)
    return replace(base, seed=int.from_bytes(digest[:4], "little") >> 1, temperature=temperature)


def _attempt(sampling: Sampling, finish: FinishReason, tokens: int, detail: str | None) -> Attempt:
    return Attempt(
        seed=sampling.seed,
        temperature=sampling.temperature,
        finish_reason=finish,
        output_tokens=tokens,
        detail=detail[:500] if detail else None,
    )
