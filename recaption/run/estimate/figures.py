"""Figures of a pilot and their extrapolation to the source: rates, GPU-hours, lengths of answers. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recaption.formatting import quantile
from recaption.generate.progress import PassProgress
from recaption.types import Answer, Reject

_NO_GPU = ("cpu", "mps")


@dataclass(frozen=True, kw_only=True, slots=True)
class Total:
    """Images of a source; `exact` is False if some shards are extrapolated from the others."""

    images: int
    exact: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenPrice:
    """Dollars per million tokens of prompts and of answers."""

    input: float
    output: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRate:
    """The rate of one model in one pass of one run. `gpus` is per engine: 0 if it uses none, or runs on a server
    elsewhere. `name` is the title of the pass: the name of the model, with a number from its second pass on.

    An image counts once, however many generations use it.
    """

    name: str
    model: str
    run: str
    images: int
    seconds: float
    engines: int
    gpus: int
    engine: str
    share: float | None = None  # of the engine's maximum rate
    lost: dict[str, float] = field(default_factory=dict)  # stage -> share of the maximum rate
    requests: dict[str, float] = field(default_factory=dict)  # generation with several per image -> requests per image
    prompt_tokens: int = 0  # of all its requests, discarded attempts included
    output_tokens: int = 0
    token_price: TokenPrice | None = None

    @property
    def images_per_second(self) -> float:
        return self.images / self.seconds

    @property
    def per_engine(self) -> float:
        return self.images_per_second / self.engines

    def seconds_for(self, images: int) -> float:
        """With the same number of engines."""
        return images / self.images_per_second

    def engine_hours(self, images: int) -> float:
        """Independent of the number of engines."""
        return images / self.per_engine / 3600

    def gpu_hours(self, images: int) -> float:
        return self.engine_hours(images) * self.gpus

    def token_cost(self, images: int) -> float | None:
        """Dollars; None without a price, or if the server reported no tokens. Cached tokens have the full price."""
        price = self.token_price
        if price is None or not self.prompt_tokens + self.output_tokens:
            return None
        dollars = (self.prompt_tokens * price.input + self.output_tokens * price.output) / 1e6
        return dollars * images / self.images


@dataclass(frozen=True, kw_only=True, slots=True)
class Lengths:
    """Statistics of one generation's answers and rejects. Tokens are those of the kept attempts, in no order.

    `is_written`: the model writes the answers until it ends them. Else they are one token (a probability of choices),
    one of a few words, or numbers, and `max_tokens` does not matter.
    """

    id: str
    model: str
    max_tokens: int
    output_tokens: tuple[int, ...]
    prompt_tokens: tuple[int, ...]
    cut: int  # answers that end at max_tokens
    rejects: dict[str, int]  # by reason
    again: int  # answers and rejects with more than one attempt
    failed: dict[str, int]  # finish reasons of attempts that were discarded
    is_written: bool = True

    @property
    def results(self) -> int:
        return len(self.output_tokens) + sum(self.rejects.values())

    @property
    def reject_share(self) -> float:
        return sum(self.rejects.values()) / self.results if self.results else 0.0

    @property
    def again_share(self) -> float:
        return self.again / self.results if self.results else 0.0

    @property
    def cut_share(self) -> float:
        return self.cut / len(self.output_tokens) if self.output_tokens else 0.0

    def output(self, q: float) -> int:
        return int(quantile(self.output_tokens, q))

    def prompt(self, q: float) -> int:
        return int(quantile(self.prompt_tokens, q))


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A pilot and the prediction for the whole source. `unmeasured`: models without a rate."""

    pipeline: str
    out: str
    pilot: int  # the pilot's limit of images
    asked: bool  # False: no answer was missing, and the rates are those of an earlier run
    total: Total | None
    models: tuple[ModelRate, ...]
    unmeasured: tuple[str, ...]
    lengths: tuple[Lengths, ...]
    price: float | None  # dollars per GPU-hour

    @property
    def gpu_hours(self) -> float | None:
        """Of the measured models, for the whole source; None if unknown."""
        return sum(m.gpu_hours(self.total.images) for m in self.models) if self.total and self.models else None

    @property
    def seconds(self) -> float | None:
        """One model after another, with the measured number of engines."""
        return sum(m.seconds_for(self.total.images) for m in self.models) if self.total and self.models else None

    @property
    def cost(self) -> float | None:
        """Dollars for GPUs; None without a price or without a GPU."""
        return self.price * self.gpu_hours if self.price is not None and self.gpu_hours else None

    @property
    def token_cost(self) -> float | None:
        """Dollars for tokens of servers; None if there is no price, or the cost of a model with a price is unknown."""
        priced = [m for m in self.models if m.token_price is not None]
        costs = [m.token_cost(self.total.images) for m in priced] if self.total else []
        known = [cost for cost in costs if cost is not None]
        return sum(known) if known and len(known) == len(costs) else None


def total_images(shards: Sequence[tuple[int | None, int | None]]) -> Total | None:
    """The images of all shards: (images if they were counted, bytes if that takes no request).

    Shards that are not counted get the average per byte, or per shard, of the others. None if no shard was counted.
    """
    counted = [(images, nbytes) for images, nbytes in shards if images is not None]
    if not counted:
        return None
    images = sum(images for images, _ in counted)
    known_bytes = sum(nbytes or 0 for _, nbytes in counted)
    unknown_bytes = sum(nbytes or 0 for _, nbytes in shards) - known_bytes
    sized = known_bytes and all(nbytes is not None for _, nbytes in shards)
    more = images * unknown_bytes / known_bytes if sized else images * (len(shards) - len(counted)) / len(counted)
    return Total(images=images + round(more), exact=len(counted) == len(shards))


def model_rate(
    report: dict[str, Any],
    name: str,
    tensor_parallel: int = 1,
    *,
    model: str | None = None,
    reads: Mapping[str, Collection[str]] = {},
) -> ModelRate | None:
    """The rate of a pass in one run's report (`metrics/run-*.json`); None if it was not used.

    `name` is its title, and `model` the name of its model; default: the title. `reads` has the generations that each
    generation reads, also through others. If the pass is complete, an image without anything to ask in it counts: the
    run has answered what the pass reads. Of an interrupted pass, only images with answers count.
    """
    passes = {
        title: PassProgress.model_validate({**(of or {}), "model": title})
        for title, of in report.get("models", {}).items()
    }
    progress = passes.get(name)
    if progress is None or progress.seconds <= 0 or not any(of.fresh_images for of in progress.generations.values()):
        return None
    fresh = {id: of.fresh_images for one in passes.values() for id, of in one.generations.items()}
    above = reads if progress.phase == "done" else {}
    covered = {
        id: max(fresh[id], *(fresh.get(other, 0) for other in above.get(id, ())), 0) for id in progress.generations
    }
    device = progress.engine.get("device") or ""
    engine = " ".join(filter(None, (progress.engine.get("engine"), progress.engine.get("engine_version"))))
    return ModelRate(
        name=name,
        model=model or name,
        run=str(report.get("run", "")),
        images=max(covered.values()),
        seconds=progress.seconds,
        engines=max(1, progress.engines_used),
        gpus=tensor_parallel if device and not device.lower().startswith(_NO_GPU) else 0,
        engine=f"{engine} on {device}" if device else engine,
        share=progress.meter.share,
        lost={stage: share for stage, share in progress.meter.lost.items() if share},
        prompt_tokens=sum(of.prompt_tokens for of in progress.generations.values()),
        output_tokens=sum(of.output_tokens for of in progress.generations.values()),
        requests={id: of.fresh / covered[id] for id, of in progress.generations.items() if of.finished},
    )


def lengths(
    id: str,
    model: str,
    max_tokens: int,
    answers: Sequence[Answer],
    rejects: Sequence[Reject],
    *,
    is_written: bool = True,
) -> Lengths:
    """Statistics of one generation's answers and rejects."""
    failed: Counter[str] = Counter(attempt.finish_reason for answer in answers for attempt in answer.attempts[:-1])
    return Lengths(
        id=id,
        model=model,
        max_tokens=max_tokens,
        output_tokens=tuple(answer.output_tokens for answer in answers),
        prompt_tokens=tuple(answer.prompt_tokens for answer in answers),
        cut=sum(answer.finish_reason == "length" for answer in answers),
        rejects=dict(Counter(reject.reason for reject in rejects)),
        again=sum(len(answer.attempts) > 1 for answer in answers) + sum(reject.attempts > 1 for reject in rejects),
        failed=dict(failed),
        is_written=is_written,
    )
