"""Train the scene box model: `python -m training.locate.train`.

It starts with the captioner's vision encoder and a fresh, small text model. All weights learn to answer where phrases
are in an image. Losses beside that of the answer, whose heads are not exported: the content and the box of each cell
from its image token, and the cell and the box of each phrase from its last token. AdamW; the rate warms up, stays, and
falls to zero. After a stop (SIGTERM) the same command continues from the last checkpoint.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from recaption.demo import model_path
from training.locate.blocks import Blocks, BlockSampler
from training.locate.build import load
from training.locate.learner import Locator
from training.scene.export import export
from training.scene.pool import load_pool
from training.scene.ranks import RANK, average_gradients, from_first, start
from training.scene.train import AUXILIARY, KINDS, resume, save
from training.verify.train import Means, rate_at

POINT, BOX, SEEN = 0.5, 2.0, 2.0  # weights of the losses


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How to train. With `steps` the schedule follows the steps, else the clock."""

    out: Path
    work: Path
    start: Path = field(default_factory=model_path)
    seed: int = 3
    threads: int = 1
    batch_size: int = 16
    looked_at: int = 16  # further images in each step, for the encoder alone: a small part of the step's time
    see_steps: int = 600  # in which the encoder and the connector learn alone: a fifth of the time of the others
    pool: int = 30_000
    rate: float = 1e-3
    minutes: float = 40.0
    steps: int | None = None
    fall_from: float = 0.5  # share of the training after which the rate falls
    save_every: float = 180.0
    log_every: int = 50


def learn(
    learner: Locator, optimiser: torch.optim.Optimizer, batch: Blocks, kind: int, means: Means, *, answers: bool
) -> None:
    """One step, with or without the losses of answers; its figures go to `means`. `kind`: see `position_maps`."""
    tokens = learner.see(batch.pixels, kind)
    auxiliary, right = learner.look_up(tokens, batch)
    seen = learner.boxes_seen(tokens, batch)
    loss = AUXILIARY * auxiliary + SEEN * seen
    figures = {"seen": seen, "objects": right[0]}
    if answers:
        losses = learner.losses(tokens, batch)
        loss = loss + losses.say + losses.place + POINT * losses.point + BOX * (losses.box + losses.placed)
        figures |= losses._asdict()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(learner.parameters())
    torch.nn.utils.clip_grad_norm_([p for p in learner.parameters() if p.grad is not None], 1.0)
    optimiser.step()
    for name, value in figures.items():
        means.add(name, value.item())


def train(plan: Plan) -> None:
    """Run `plan` to its end; exports to `plan.out` every `save_every` seconds and at the end."""
    plan.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    start()
    torch.manual_seed(plan.seed)
    model, processor = load(plan.start)
    pool, scenes = load_pool(plan.work / "pool.npy", plan.pool, plan.seed, jitter=True)
    checkpoint = plan.work / "checkpoint.pt"
    sampler = BlockSampler(
        pool, scenes, processor.tokenizer, batch_size=plan.batch_size, looked_at=plan.looked_at, seed=0
    )
    learner = Locator(model, sampler.first).train()
    optimiser = torch.optim.AdamW(learner.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    clock = resume(learner, optimiser, checkpoint)
    sampler.rng.seed(hash((plan.seed, clock.step, RANK)))  # not the same batches again after a stop
    stop: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))

    with open(plan.work / "train.log" if RANK == 0 else os.devnull, "a", encoding="utf-8", buffering=1) as log:
        size = sum(p.numel() for p in learner.model.parameters())
        print(f"# parameters {size}  plan {plan}  from step {clock.step}", file=log)
        means, last = Means(), time.monotonic()
        saved = last
        for batch in sampler:
            progress = clock.step / plan.steps if plan.steps is not None else clock.seconds / (60 * plan.minutes)
            progress = from_first(1.0 if stop else progress)
            if progress >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = rate_at(progress, plan)
            kind, answers = KINDS[clock.step % len(KINDS)], clock.step >= plan.see_steps
            learn(learner, optimiser, batch, kind, means, answers=answers)
            now = time.monotonic()
            clock.step, clock.seconds, last = clock.step + 1, clock.seconds + now - last, now
            if clock.step % plan.log_every == 0:
                when = f"step {clock.step}  minutes {clock.seconds / 60:.1f}  rate {rate_at(progress, plan):.1e}"
                print(f"{when}  {means.take()}", file=log)
            if RANK == 0 and now - saved > plan.save_every:
                save(learner, optimiser, clock, checkpoint)
                export(learner.model, processor, plan.out)
                saved = now
        if RANK == 0:
            save(learner, optimiser, clock, checkpoint)
            export(learner.model, processor, plan.out)
        end = "stopped" if stop else "done"
        print(f"# {end} at step {clock.step} after {clock.seconds / 60:.1f} minutes", file=log)
    signal.signal(signal.SIGTERM, before)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.locate.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the model is exported to")
    parser.add_argument("--work", type=Path, default=Path(".demo/locate"), help="for checkpoint, pool and log")
    parser.add_argument("--start", type=Path, default=model_path(), help="the captioner to start from")
    parser.add_argument("--minutes", type=float, default=40.0, help="of training, drawing the scenes apart")
    parser.add_argument("--steps", type=int, help="train for so many steps instead: reproducible on the same machine")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--looked-at", type=int, default=16, help="further images in a step, for the encoder alone")
    parser.add_argument("--see-steps", type=int, default=600, help="steps in which the encoder learns alone")
    parser.add_argument("--pool", type=int, default=30_000, help="scenes drawn ahead (62 kB each)")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--fall-from", type=float, default=0.5, help="share of the training after which the rate falls")
    train(Plan(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    main()
