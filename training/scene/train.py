"""Train the embedded scene captioner: `python -m training.scene.train`, or `make scene-model`.

Two stages. First vision encoder and connector learn, with a linear head on each image token, what stands in each cell:
minutes, where the language loss alone sits on a plateau of fluent sentences that have nothing to do with the picture.
Then everything learns to answer, and the first stage's loss stays with a small weight. AdamW, warm-up, cosine to zero.
Interrupted (SIGTERM, or killed), the same command goes on from the last checkpoint.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from recaption.demo import model_path
from training.scene.batches import Batch, Sampler
from training.scene.build import build_model, build_processor, build_tokenizer
from training.scene.export import export
from training.scene.learner import Learner
from training.scene.pool import load_pool

AUXILIARY = 0.2  # weight of the first stage's loss in the second
# Which of transformers' position ids a step sees, by its number modulo ten: see learner.position_maps.
KINDS = (0, 0, 0, 0, 0, 0, 0, 0, 1, 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How to train. `steps` counts both stages; with `minutes` the schedule follows the clock instead."""

    out: Path
    work: Path
    seed: int = 0
    threads: int = 2
    batch_size: int = 64
    pool: int = 48_000
    rate: float = 1e-3
    minutes: float | None = None
    steps: int | None = None
    see_share: float = 0.15
    # In the second stage, one image of this many is described. A batch of 64 descriptions takes twice as long as one
    # without (0.6 s instead of 0.3 s on two cores), and descriptions are learnt from fewer samples.
    speak_every: int = 2
    save_every: float = 300.0
    log_every: int = 50


@dataclass(kw_only=True, slots=True)
class Clock:
    """How far training is: steps done and seconds spent, over all of its runs."""

    step: int = 0
    seconds: float = 0.0

    def progress(self, plan: Plan) -> float:
        """0 at the start, 1 at the end."""
        if plan.steps is not None:
            return self.step / plan.steps
        assert plan.minutes is not None
        return self.seconds / (60 * plan.minutes)


@dataclass(kw_only=True, slots=True)
class Means:
    """Means since the last line of the log: losses of words and eyes, shares of objects and backgrounds right."""

    sums: torch.Tensor = field(default_factory=lambda: torch.zeros(4))
    n: int = 0

    def add(self, figures: torch.Tensor) -> None:
        self.sums += figures
        self.n += 1

    def take(self) -> str:
        """The means in words; starts over."""
        words, eyes, objects, backgrounds = (self.sums / max(1, self.n)).tolist()
        self.sums, self.n = torch.zeros(4), 0
        return f"words {words:.4f}  eyes {eyes:.4f}  objects {objects:.4f}  backgrounds {backgrounds:.4f}"


def rate_at(progress: float, plan: Plan, warm_up: float = 0.01) -> float:
    """Warm-up, full rate while the eyes are trained, then half a cosine down to zero."""
    if progress < warm_up:
        return plan.rate * max(progress, 1e-4) / warm_up
    after = max(0.0, progress - plan.see_share) / (1 - plan.see_share)
    return plan.rate * 0.5 * (1 + math.cos(math.pi * min(1.0, after)))


def save(learner: Learner, optimiser: torch.optim.Optimizer, clock: Clock, path: Path) -> None:
    """The checkpoint, whole or not at all."""
    state = {
        "learner": learner.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": clock.step,
        "seconds": clock.seconds,
    }
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def resume(learner: Learner, optimiser: torch.optim.Optimizer, path: Path) -> Clock:
    """What `save` wrote, if anything: puts it into `learner` and `optimiser`."""
    if not path.exists():
        return Clock()
    state: dict[str, Any] = torch.load(path, weights_only=True)
    learner.load_state_dict(state["learner"])
    optimiser.load_state_dict(state["optimiser"])
    return Clock(step=state["step"], seconds=state["seconds"])


def tokenizer_of(plan: Plan) -> PreTrainedTokenizerFast:
    """The tokenizer that the run in `plan.work` began with: captions may have changed since, its tokens must not."""
    folder = plan.work / "tokenizer"
    if not folder.exists():
        build_tokenizer().save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def learn(
    learner: Learner, optimiser: torch.optim.Optimizer, batch: Batch, kind: int, speak_every: int
) -> torch.Tensor:
    """One step; words are left out if `speak_every` is 0. Returns the figures for `Means`, float [4]."""
    tokens = learner.see(batch.pixels, kind)
    auxiliary, right = learner.look_up(tokens, batch)
    spoken, loss = torch.zeros(()), auxiliary
    if speak_every:
        spoken = learner.describe(tokens[::speak_every], batch.every(speak_every))
        loss = spoken + AUXILIARY * auxiliary
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for p in learner.parameters() if p.grad is not None], 1.0)
    optimiser.step()
    return torch.stack([spoken.detach(), auxiliary.detach(), right[0], right[1]])


def train(plan: Plan) -> None:
    """Run `plan` to its end; exports to `plan.out` every `save_every` seconds and at the end."""
    plan.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    tokenizer = tokenizer_of(plan)
    processor = build_processor(tokenizer)
    learner = Learner(build_model(tokenizer)).train()
    optimiser = torch.optim.AdamW(learner.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    checkpoint = plan.work / "checkpoint.pt"
    clock = resume(learner, optimiser, checkpoint)
    pool, scenes = load_pool(plan.work / "pool.npy", plan.pool, plan.seed)
    # Another seed after each resumption, or it would see the same batches again.
    sampler = Sampler(pool, scenes, tokenizer, batch_size=plan.batch_size, seed=hash((plan.seed, clock.step)))
    stop: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))

    with (plan.work / "train.log").open("a", encoding="utf-8", buffering=1) as log:
        size = sum(p.numel() for p in learner.model.parameters())
        print(f"# parameters {size}  plan {plan}  from step {clock.step}", file=log)
        means, last = Means(), time.monotonic()
        saved = last
        for batch in sampler:
            progress = clock.progress(plan)
            if progress >= 1 or stop:
                break
            for group in optimiser.param_groups:
                group["lr"] = rate_at(progress, plan)
            speak_every = plan.speak_every if progress >= plan.see_share else 0
            means.add(learn(learner, optimiser, batch, KINDS[clock.step % len(KINDS)], speak_every))
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
    parser = argparse.ArgumentParser(prog="python -m training.scene.train", description=__doc__)
    parser.add_argument("--out", type=Path, default=model_path(), help="where the model is exported to")
    parser.add_argument("--work", type=Path, default=Path(".demo/scene-model"), help="for checkpoint, pool and log")
    parser.add_argument("--minutes", type=float, help="of training, pool apart (default: 75, unless --steps is given)")
    parser.add_argument("--steps", type=int, help="train for so many steps instead: reproducible on the same machine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--pool", type=int, default=48_000, help="scenes drawn ahead (62 kB each)")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--see-share", type=float, default=0.15, help="of training spent on the first stage")
    parser.add_argument("--speak-every", type=int, default=2, help="describe one image in so many in the second stage")
    args = vars(parser.parse_args(argv))
    if args["minutes"] is None and args["steps"] is None:
        args["minutes"] = 75.0
    train(Plan(**args))


if __name__ == "__main__":
    main()
