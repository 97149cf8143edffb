"""Train the scene verifier: `python -m training.verify.train`.

It starts from the weights of the scene captioner and learns, with all weights, to answer whether a statement is true of
the image, to expect only true statements in that question, and to describe as before. AdamW; the rate warms up, stays,
and falls to zero. After a stop (SIGTERM) the same command continues from the last checkpoint.
"""

from __future__ import annotations

import argparse
import math
import signal
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch

from recaption.demo import model_path
from training.scene.export import export
from training.scene.pool import load_pool
from training.scene.train import AUXILIARY, KINDS, resume, save
from training.verify.blocks import Blocks, BlockSampler
from training.verify.build import load
from training.verify.learner import Verifier

ANSWER_WEIGHT, SAY_WEIGHT = 1.0, 0.5
HEADS_ALONE = 200  # steps in which the new auxiliary heads learn without an effect on the encoder


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How to train. With `steps` the schedule follows the steps, else the clock."""

    out: Path
    work: Path
    start: Path = field(default_factory=model_path)
    seed: int = 1
    threads: int = 1
    batch_size: int = 32
    pool: int = 30_000
    rate: float = 8e-4
    minutes: float = 65.0
    steps: int | None = None
    fall_from: float = 0.5  # share of the training after which the rate falls
    save_every: float = 240.0
    log_every: int = 50


class Schedule(Protocol):
    """What `rate_at` needs of a plan."""

    @property
    def rate(self) -> float: ...

    @property
    def fall_from(self) -> float: ...


def rate_at(progress: float, plan: Schedule, warm_up: float = 0.02) -> float:
    """Warm-up, the full rate, then half a cosine down to zero."""
    if progress < warm_up:
        return plan.rate * max(progress, 1e-4) / warm_up
    fallen = max(0.0, progress - plan.fall_from) / (1 - plan.fall_from)
    return plan.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, fallen)))


@dataclass(kw_only=True, slots=True)
class Means:
    """Means since the last line of the log."""

    sums: dict[str, list[float]] = field(default_factory=lambda: defaultdict(lambda: [0.0, 0.0]))

    def add(self, name: str, value: float) -> None:
        pair = self.sums[name]
        pair[0] += value
        pair[1] += 1

    def take(self) -> str:
        """The means in words; starts over."""
        text = "  ".join(f"{name} {total / n:.3f}" for name, (total, n) in sorted(self.sums.items()))
        self.sums.clear()
        return text


def learn(learner: Verifier, optimiser: torch.optim.Optimizer, batch: Blocks, step: int, means: Means) -> None:
    """One step; its losses, and the shares of right answers by kind of statement, go to `means`."""
    tokens = learner.see(batch.pixels, KINDS[step % len(KINDS)])
    auxiliary, right = learner.look_up(tokens.detach() if step < HEADS_ALONE else tokens, batch)
    losses = learner.losses(tokens, batch)
    loss = losses.caption + ANSWER_WEIGHT * losses.answer + SAY_WEIGHT * losses.say
    loss = loss + AUXILIARY * auxiliary
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
    optimiser.step()
    for name, value in (
        ("0-caption", losses.caption),
        ("0-answer", losses.answer),
        ("0-say", losses.say),
        ("0-eyes", auxiliary),
        ("0-objects", right[0]),
    ):
        means.add(name, value.item())
    claims = (claim for some in batch.claims for claim in some)
    for claim, p in zip(claims, losses.answered.tolist(), strict=True):
        means.add(claim.change or f"true_{claim.kind}", float(p > 0.5))


def train(plan: Plan) -> None:
    """Run `plan` to its end; exports to `plan.out` every `save_every` seconds and at the end."""
    plan.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    model, processor = load(plan.start, plan.work / "processor")
    learner = Verifier(model).train()
    optimiser = torch.optim.AdamW(learner.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    checkpoint = plan.work / "checkpoint.pt"
    clock = resume(learner, optimiser, checkpoint)
    pool, scenes = load_pool(plan.work / "pool.npy", plan.pool, plan.seed)
    # Another seed after each resumption, or it would see the same batches again.
    sampler = BlockSampler(
        pool, scenes, processor.tokenizer, batch_size=plan.batch_size, seed=hash((plan.seed, clock.step))
    )
    stop: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))

    with (plan.work / "train.log").open("a", encoding="utf-8", buffering=1) as log:
        size = sum(p.numel() for p in learner.model.parameters())
        print(f"# parameters {size}  plan {plan}  from step {clock.step}", file=log)
        means, last = Means(), time.monotonic()
        saved = last
        for batch in sampler:
            progress = clock.step / plan.steps if plan.steps is not None else clock.seconds / (60 * plan.minutes)
            if progress >= 1 or stop:
                break
            for group in optimiser.param_groups:
                group["lr"] = rate_at(progress, plan)
            learn(learner, optimiser, batch, clock.step, means)
            now = time.monotonic()
            clock.step, clock.seconds, last = clock.step + 1, clock.seconds + now - last, now
            if clock.step % plan.log_every == 0:
                when = f"step {clock.step}  minutes {clock.seconds / 60:.1f}  rate {rate_at(progress, plan):.1e}"
                print(f"{when}  {means.take()}", file=log)
            if now - saved > plan.save_every:
                save(learner, optimiser, clock, checkpoint)
                export(learner.model, processor, plan.out)
                saved = now
        save(learner, optimiser, clock, checkpoint)
        export(learner.model, processor, plan.out)
        end = "stopped" if stop else "done"
        print(f"# {end} at step {clock.step} after {clock.seconds / 60:.1f} minutes", file=log)
    signal.signal(signal.SIGTERM, before)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.verify.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the model is exported to")
    parser.add_argument("--work", type=Path, default=Path(".demo/verifier"), help="for checkpoint, pool and log")
    parser.add_argument("--start", type=Path, default=model_path(), help="the captioner to start from")
    parser.add_argument("--minutes", type=float, default=65.0, help="of training, drawing the scenes apart")
    parser.add_argument("--steps", type=int, help="train for so many steps instead: reproducible on the same machine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--pool", type=int, default=30_000, help="scenes drawn ahead (62 kB each)")
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--fall-from", type=float, default=0.5, help="share of the training after which the rate falls")
    train(Plan(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    main()
