"""Suggested settings after a pilot: sentences with the key to set and what it costs. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator

from recaption.config import Model, Pipeline
from recaption.formatting import listed, percent
from recaption.run.estimate.figures import Estimate, Lengths, ModelRate

MIN_ANSWERS = 30  # with fewer, shares are not meaningful
CUT = 0.02  # share of truncated answers above which max_tokens is too low
RETRIED = 0.1  # share of answers and rejects
REJECTED = 0.05
ENGINE_BOUND = 0.9  # share of the maximum rate above which only the engine itself can be made faster
LONG_PROMPT = 2000  # tokens of image and prompt above which a pixel budget may help
_STARVED = {
    "read": "the engine waits for images to be read: use faster storage, or a source closer to the engine",
    "decode": "decode-bound: the engine waits for images to be decoded",
    "render": "render-bound: the engine waits for prompts to be rendered",
    "engine": "requests wait although the engine has room for them, so its process is short of CPU: run fewer "
    "other processes on its cores",
}
_REGENERATES = "This changes the fingerprint: all answers are generated again"


def suggestions(estimate: Estimate, pipeline: Pipeline) -> list[str]:
    """What to change before generating for the whole source, the most expensive problems first; may be empty."""
    found: list[str] = []
    for rate in estimate.models:
        found += _of_rate(rate, pipeline.models[rate.model])
    for number, generation in enumerate(pipeline.generate):
        for lengths in estimate.lengths:
            if lengths.id == generation.id:
                found += _of_lengths(lengths, f"generate.{number}", pipeline.models[generation.model])
    return found


def _of_rate(rate: ModelRate, model: Model) -> Iterator[str]:
    if rate.share is None or rate.share >= ENGINE_BOUND:
        return
    fed = {cause: share for cause, share in rate.lost.items() if cause in _STARVED}
    if not fed:
        return  # lost at start and end of a short pilot: negligible for the whole source
    cause = max(fed, key=lambda name: fed[name])
    if fed[cause] < 1 - ENGINE_BOUND:
        return
    text = _STARVED[cause]
    if cause in ("decode", "render"):
        text += (
            f". Give each engine more CPU cores, or a smaller models.{rate.model}.max_pixels"
            if model.renderers == "auto"
            else f". Set models.{rate.model}.renderers to auto, or above {model.renderers} if there are cores"
        )
    yield f"{rate.name}: {percent(fed[cause])} of the engine's maximum rate is lost: {text}"


def _of_lengths(lengths: Lengths, where: str, model: Model) -> Iterator[str]:
    answers = len(lengths.output_tokens)
    if lengths.reject_share > REJECTED and lengths.results >= MIN_ANSWERS:
        yield (
            f"{lengths.id}: {percent(lengths.reject_share)} are rejected ({listed(lengths.rejects)}): check them "
            "with recaption inspect before you continue"
        )
    if lengths.again_share > RETRIED and lengths.results >= MIN_ANSWERS:
        why = f" ({listed(lengths.failed)})" if lengths.failed else ""
        yield (
            f"{lengths.id}: {percent(lengths.again_share)} were retried{why}: each attempt is paid for. "
            f"Another prompt or {where}.sampling.temperature may give better results. {_REGENERATES}"
        )
    if answers < MIN_ANSWERS:
        return
    if lengths.is_written:
        yield from _of_answers(lengths, where)
    yield from _of_prompts(lengths, model)


def _of_answers(lengths: Lengths, where: str) -> Iterator[str]:
    longest, p99 = max(lengths.output_tokens), lengths.output(0.99)
    if lengths.cut_share > CUT:
        yield (
            f"{lengths.id}: {percent(lengths.cut_share)} of the answers are truncated at max_tokens: "
            f"--set {where}.sampling.max_tokens={_round_up(lengths.max_tokens * 3 / 2)}, "
            "or change the prompt so that answers are shorter. "
            f"{_REGENERATES}"
        )
    elif not lengths.cut and (enough := _round_up(longest * 3 / 2)) * 2 <= lengths.max_tokens:
        yield (
            f"{lengths.id}: no answer takes more than {longest} of {lengths.max_tokens} tokens (99 % at most {p99}): "
            f"--set {where}.sampling.max_tokens={enough} stops an answer that does not end sooner. "
            f"{_REGENERATES}"
        )


def _of_prompts(lengths: Lengths, model: Model) -> Iterator[str]:
    key = f"models.{lengths.model}"
    room = model.max_model_len
    most = lengths.prompt(1.0) + lengths.max_tokens
    if room is not None and most > room and lengths.is_written:
        yield (
            f"{lengths.id}: prompts of up to {lengths.prompt(1.0)} tokens and max_tokens {lengths.max_tokens} do not "
            f"fit together into {key}.max_model_len={room}: set it to {_round_up(most, 256)}, or lower "
            f"{key}.max_pixels. {_REGENERATES}"
        )
    median, answer = lengths.prompt(0.5), max(1, lengths.output(0.5))
    if median > LONG_PROMPT and median > 4 * answer:
        budget = f"{key}.max_pixels is {model.max_pixels:,}" if model.max_pixels else f"{key}.max_pixels is not set"
        yield (
            f"{lengths.id}: half of the prompts take {median:,} tokens or more, most of them of the image, for answers "
            f"of about {answer}; {budget}. A smaller budget makes the run faster and shows the model less detail. "
            f"{_REGENERATES}"
        )


def _round_up(value: float, step: int = 16) -> int:
    return int(-(-value // step) * step)
