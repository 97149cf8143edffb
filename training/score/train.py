"""Train the dual encoder for scenes: `python -m training.score.train`.

The loss is SigLIP's, but every pair of an image and a text of a batch has its true label, and half of the texts are
false of their own image. AdamW, warm-up, half a cosine to zero; the vision encoder, which the captioner has trained,
learns at a smaller rate.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import PreTrainedTokenizerFast, SiglipModel

from recaption.demo import model_path
from recaption.demo.scenes import Scene
from training.scene.batches import to_float
from training.scene.pool import load_pool, mirrored
from training.score.build import TEXT_LENGTH, build_model, build_processor, build_tokenizer
from training.score.texts import Text, keys, sample_texts

OWN_WEIGHT = 4.0  # of the pairs of a text and the image that it was made for: half of these texts are nearly true
NOUN_WEIGHT = 0.1  # of all pairs of a single noun, which is true of many images
VISION_RATE = 0.7  # of the rate


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """B images and N texts."""

    pixels: torch.Tensor  # float [B, 3, S, S], in -1..1
    texts: list[Text]
    labels: torch.Tensor  # float [B, N], 1: the text is true of the image
    weights: torch.Tensor  # float [B, N]
    own: torch.Tensor  # bool [B, N], the text was made for the image


def batches(pool: np.ndarray, scenes: list[Scene], *, batch_size: int, seed: int) -> Iterator[Pairs]:
    """Endless batches, half of the scenes mirrored."""
    rng = random.Random(seed)
    while True:
        some, pixels = [], []
        for _ in range(batch_size):
            i, flip = rng.randrange(len(scenes)), rng.random() < 0.5
            some.append(mirrored(scenes[i]) if flip else scenes[i])
            pixels.append(pool[i][:, ::-1] if flip else pool[i])
        texts = [(row, text) for row, scene in enumerate(some) for text in sample_texts(scene, rng)]
        known = [keys(scene) for scene in some]
        labels = torch.tensor([[float(text.key in true) for _, text in texts] for true in known])
        factor = torch.tensor([NOUN_WEIGHT if text.kind == "noun" else 1.0 for _, text in texts])
        own = torch.tensor([row for row, _ in texts])[None] == torch.arange(batch_size)[:, None]
        yield Pairs(
            pixels=to_float(np.stack(pixels)),
            texts=[text for _, text in texts],
            labels=labels,
            weights=torch.where(own, OWN_WEIGHT, 1.0) * factor,
            own=own,
        )


def encode_texts(model: SiglipModel, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """Unit vectors [N, D], the same as of texts padded to the full length.

    The model reads its text from the last position, and padding is masked: positions between the text and the last one
    need not be computed. Texts of similar length are computed together.
    """
    rows = tokenizer(texts, truncation=True, max_length=TEXT_LENGTH)["input_ids"]
    order = sorted(range(len(rows)), key=lambda k: len(rows[k]))
    vectors: list[torch.Tensor] = []
    for group in np.array_split(np.array(order), max(1, min(4, len(order) // 32))):
        some = [rows[k] for k in group]
        length = max(map(len, some))
        ids = torch.full((len(some), length + 1), tokenizer.pad_token_id)
        mask = torch.zeros((len(some), length + 1), dtype=torch.long)
        for row, tokens in enumerate(some):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        positions = torch.cat([torch.arange(length), torch.tensor([TEXT_LENGTH - 1])])[None]
        output: Any = model.get_text_features(input_ids=ids, attention_mask=mask, position_ids=positions)
        vectors.append(output.pooler_output)
    together = torch.cat(vectors)
    return F.normalize(together[torch.tensor(order).argsort()], dim=-1)


def loss_of(model: SiglipModel, tokenizer: PreTrainedTokenizerFast, pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean loss for an image, and the logits [B, N]."""
    seen: Any = model.get_image_features(pixel_values=pairs.pixels)
    images = F.normalize(seen.pooler_output, dim=-1)
    texts = encode_texts(model, tokenizer, [t.text for t in pairs.texts])
    logits = images @ texts.T * model.logit_scale.exp() + model.logit_bias
    each = F.binary_cross_entropy_with_logits(logits, pairs.labels, weight=pairs.weights, reduction="none")
    return each.sum() / len(images), logits.detach()


def groups(model: SiglipModel, rate: float) -> list[dict[str, Any]]:
    """The optimiser's groups, each with its full rate as `base`."""
    slow, fast, plain = [], [], []
    for name, p in model.named_parameters():
        if name in ("logit_scale", "logit_bias"):
            plain.append(p)
        elif name.startswith("vision_model.") and ".head." not in name:
            slow.append(p)
        else:
            fast.append(p)
    return [
        {"params": slow, "base": rate * VISION_RATE},
        {"params": fast, "base": rate},
        {"params": plain, "base": rate * 5, "weight_decay": 0.0},
    ]


def train(args: argparse.Namespace) -> None:
    """Train for `minutes`, or for `steps`; exports to `out` now and then and at the end."""
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tokenizer = build_tokenizer(model_path())
    processor = build_processor(tokenizer)
    model = build_model(model_path(), tokenizer).train()
    if args.start:
        model.load_state_dict(SiglipModel.from_pretrained(args.start, dtype=torch.float32).state_dict())
    optimiser = torch.optim.AdamW(groups(model, args.rate), lr=args.rate, betas=(0.9, 0.98), weight_decay=0.01)
    pool, scenes = load_pool(args.work / "pool.npy", args.pool, args.seed)

    def export() -> None:
        copy = SiglipModel(model.config)
        copy.load_state_dict(model.state_dict())
        copy.to(torch.bfloat16).save_pretrained(args.out)
        processor.save_pretrained(args.out)

    with (args.work / "score.log").open("a", encoding="utf-8", buffering=1) as log:
        print(f"# parameters {sum(p.numel() for p in model.parameters())}  {args}", file=log)
        began, step, sums = time.monotonic(), 0, torch.zeros(4)
        for pairs in batches(pool, scenes, batch_size=args.batch_size, seed=args.seed + bool(args.start)):
            minutes = (time.monotonic() - began) / 60
            progress = step / args.steps if args.steps else minutes / args.minutes
            if progress >= 1:
                break
            share = min(1.0, (progress + 1e-3) / 0.03) * 0.5 * (1 + math.cos(math.pi * progress))
            for group in optimiser.param_groups:
                group["lr"] = group["base"] * share
            loss, logits = loss_of(model, tokenizer, pairs)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            step += 1
            long = [k for k, text in enumerate(pairs.texts) if text.kind == "long"]
            right = (logits > 0) == (pairs.labels > 0.5)
            found = pairs.labels[logits.argmax(0), torch.arange(logits.shape[1])][long]
            sums += torch.stack([loss.detach(), right[pairs.own].float().mean(), right.float().mean(), found.mean()])
            if step % args.log_every == 0:
                means = "  ".join(
                    f"{n} {v:.4f}"
                    for n, v in zip(
                        ("loss", "own", "all", "image of a long caption"), sums / args.log_every, strict=True
                    )
                )
                scale = f"scale {model.logit_scale.exp().item():.2f}  bias {model.logit_bias.item():.2f}"
                print(f"step {step}  minutes {minutes:.1f}  {means}  {scale}", file=log)
                sums.zero_()
            if step % 100 == 0:
                export()
        export()
        print(f"# done at step {step} after {(time.monotonic() - began) / 60:.1f} minutes", file=log)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.score.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where the model is exported to")
    parser.add_argument("--start", type=Path, help="an exported model whose training continues")
    parser.add_argument("--work", type=Path, default=Path(".demo/verifier"), help="for pool and log")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training, drawing the scenes apart")
    parser.add_argument("--steps", type=int, help="train for so many steps instead: reproducible on the same machine")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--pool", type=int, default=30_000, help="scenes drawn ahead (62 kB each)")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--log-every", type=int, default=50)
    train(parser.parse_args(argv))


if __name__ == "__main__":
    main()
