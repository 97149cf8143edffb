"""Train the scene text model: `python -m training.reword.train`.

It starts from the captioner's text model and learns to write false versions of sentences, and rewrites of captions, in
the JSON of the tasks `negatives` and `rewrite`. The pairs are made by rule while it trains, each once. AdamW; the rate
warms up, stays, and falls to zero. After a stop (SIGTERM) the same command continues from the last checkpoint.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import LlamaForCausalLM

from recaption.demo import model_path
from training.reword.build import load
from training.reword.samples import MAKERS, Batch, Sampler
from training.scene.batches import IGNORE
from training.scene.export import export
from training.scene.ranks import RANK, average_gradients, from_first, start
from training.scene.train import resume, save
from training.verify.train import Means, rate_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How to train. With `steps` the schedule follows the steps, else the clock."""

    out: Path
    work: Path
    start: Path = field(default_factory=model_path)
    seed: int = 4
    threads: int = 1
    kinds: tuple[str, ...] = tuple(MAKERS)
    tokens: int = 2400  # of a batch
    rate: float = 8e-4
    minutes: float = 40.0
    steps: int | None = None
    fall_from: float = 0.5  # share of the training after which the rate falls
    save_every: float = 180.0
    log_every: int = 50


def learn(model: LlamaForCausalLM, optimiser: torch.optim.Optimizer, batch: Batch, means: Means) -> None:
    """One step; its figures go to `means`."""
    hidden = model.model(input_ids=batch.input_ids, use_cache=False).last_hidden_state
    wanted = batch.labels[:, 1:]
    answered = wanted != IGNORE
    logits = model.lm_head(hidden[:, :-1][answered])
    loss = F.cross_entropy(logits, wanted[answered])
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    average_gradients(model.parameters())
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    right = logits.argmax(-1) == wanted[answered]
    of = answered.nonzero()[:, 0]
    wrong_rows = torch.zeros(len(wanted), dtype=torch.bool)
    wrong_rows[of[~right]] = True
    means.add("loss", loss.item())
    means.add("tokens", right.float().mean().item())
    means.add("answers", 1 - wrong_rows.float().mean().item())


def train(plan: Plan) -> None:
    """Run `plan` to its end; exports to `plan.out` every `save_every` seconds and at the end."""
    plan.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(plan.threads)
    start()
    torch.manual_seed(plan.seed)
    model, tokenizer = load(plan.start)
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    checkpoint = plan.work / "checkpoint.pt"
    clock = resume(model, optimiser, checkpoint)
    # Another seed after each resumption, or it would see the same batches again.
    sampler = Sampler(tokenizer, tokens=plan.tokens, kinds=plan.kinds, seed=hash((plan.seed, clock.step, RANK)))
    stop: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))

    with open(plan.work / "train.log" if RANK == 0 else os.devnull, "a", encoding="utf-8", buffering=1) as log:
        size = sum(p.numel() for p in model.parameters())
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
            learn(model, optimiser, batch, means)
            now = time.monotonic()
            clock.step, clock.seconds, last = clock.step + 1, clock.seconds + now - last, now
            if clock.step % plan.log_every == 0:
                when = f"step {clock.step}  minutes {clock.seconds / 60:.1f}  rate {rate_at(progress, plan):.1e}"
                print(f"{when}  {means.take()}", file=log)
            if RANK == 0 and now - saved > plan.save_every:
                save(model, optimiser, clock, checkpoint)
                export(model, tokenizer, plan.out)
                saved = now
        if RANK == 0:
            save(model, optimiser, clock, checkpoint)
            export(model, tokenizer, plan.out)
        end = "stopped" if stop else "done"
        print(f"# {end} at step {clock.step} after {clock.seconds / 60:.1f} minutes", file=log)
    signal.signal(signal.SIGTERM, before)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.reword.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the model is exported to")
    parser.add_argument("--work", type=Path, default=Path(".demo/reword"), help="for checkpoint and log")
    parser.add_argument("--start", type=Path, default=model_path(), help="the captioner or text model to start from")
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--steps", type=int, help="train for so many steps instead: reproducible on the same machine")
    parser.add_argument("--seed", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=tuple(MAKERS), default=tuple(MAKERS), help="what is learnt")
    parser.add_argument("--tokens", type=int, default=2400, help="tokens of a batch")
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--fall-from", type=float, default=0.5, help="share of the training after which the rate falls")
    train(Plan(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    main()
