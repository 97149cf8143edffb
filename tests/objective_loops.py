"""The objectives as slow loops over single numbers, written from the equations; tests compare with them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

Vector = list[float]


def dot(a: Vector, b: Vector) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def unit(a: Vector) -> Vector:
    length = math.sqrt(dot(a, a))
    return [x / length for x in a] if length else a


def minus_log_sigmoid(z: float) -> float:
    return math.log1p(math.exp(-abs(z))) + max(-z, 0.0)


def cross_entropy(logits: Sequence[float], target: int) -> float:
    highest = max(logits)
    return highest + math.log(math.fsum(math.exp(z - highest) for z in logits)) - logits[target]


def clip(images: Tensor, texts: Tensor, scale: float) -> float:
    x, t = [unit(row) for row in images.tolist()], [unit(row) for row in texts.tolist()]
    n = len(x)
    by_image = [cross_entropy([scale * dot(x[i], t[j]) for j in range(n)], i) for i in range(n)]
    by_text = [cross_entropy([scale * dot(x[i], t[j]) for i in range(n)], j) for j in range(n)]
    return (sum(by_image) / n + sum(by_text) / n) / 2


def multi_positive_sigmoid(images: Tensor, texts: Tensor, scale: float, bias: float) -> float:
    number, per_image, _ = texts.shape
    total = 0.0
    for i in range(number):
        for j in range(number):
            for k in range(per_image):
                z = scale * dot(unit(images[i].tolist()), unit(texts[j, k].tolist())) + bias
                total += minus_log_sigmoid(z if i == j else -z)
    return total / (number * per_image)


def pooled(pool: nn.Module, text: Tensor, patches: Tensor) -> Vector:
    """Text-conditioned attention pooling of one text and the patches of one image, head by head."""
    with torch.no_grad():
        return _pooled(pool, text, patches)


def _pooled(pool: nn.Module, text: Tensor, patches: Tensor) -> Vector:
    attention = pool.attention
    width, heads = attention.embed_dim, attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    of_query = weight[:width] @ pool.norm_query(text) + bias[:width]
    keys = [weight[width : 2 * width] @ pool.norm_key(patch) + bias[width : 2 * width] for patch in patches]
    values = [weight[2 * width :] @ pool.norm_value(patch) + bias[2 * width :] for patch in patches]
    keys.append(torch.zeros(width, dtype=text.dtype))  # the patch that stands for nothing
    values.append(torch.zeros(width, dtype=text.dtype))
    out: Vector = []
    for head in range(heads):
        part = slice(head * width // heads, (head + 1) * width // heads)
        logits = [dot(of_query[part].tolist(), key[part].tolist()) / math.sqrt(width // heads) for key in keys]
        highest = max(logits)
        shares = [math.exp(z - highest) for z in logits]
        for d in range(part.start, part.stop):
            out.append(sum(s * float(v[d]) for s, v in zip(shares, values, strict=True)) / sum(shares))
    made = attention.out_proj.weight @ torch.tensor(out, dtype=text.dtype) + attention.out_proj.bias
    return made.tolist()


def text_conditioned_sigmoid(
    pool: nn.Module,
    patches: Tensor,
    texts: Tensor,
    chosen: list[list[int]],
    scale: float,
    bias: float,
    own: bool = True,
) -> float:
    """`own`: whether the texts are those of these images; of another rank they are all negatives."""
    per_image = texts.shape[1]
    total = 0.0
    for i, numbers in enumerate(chosen):
        for number in numbers:
            text = texts[number // per_image, number % per_image]
            z = scale * dot(unit(pooled(pool, text, patches[i])), unit(text.tolist())) + bias
            total += minus_log_sigmoid(z if own and number // per_image == i else -z) / len(numbers)
    return total


def group(text: Vector, patches: list[Vector], threshold: float) -> Vector:
    similarity = [dot(text, patch) for patch in patches]
    low, high = min(similarity), max(similarity)
    if low == high:
        return [0.0] * len(text)
    share = [(a - low) / (high - low) for a in similarity]
    share = [0.0 if a < threshold else a for a in share]
    return unit([sum(a * p[d] for a, p in zip(share, patches, strict=True)) / sum(share) for d in range(len(text))])


def sub_caption_grouping(patches: Tensor, texts: Tensor, scale: float, threshold: float) -> float:
    number, per_image, _ = texts.shape
    groups, flat = [], []
    for i in range(number):
        of_image = [unit(patch) for patch in patches[i].tolist()]
        for k in range(per_image):
            flat.append(unit(texts[i, k].tolist()))
            groups.append(group(flat[-1], of_image, threshold))
    return clip(torch.tensor(groups, dtype=texts.dtype), torch.tensor(flat, dtype=texts.dtype), scale)


def sequence_wise(tokens: Tensor, patches: Tensor, mask: Tensor, scale: float) -> float:
    total, real = 0.0, 0
    for words, of_image, kept in zip(tokens, patches, mask, strict=True):
        t = [word for word, keep in zip(words.tolist(), kept.tolist(), strict=True) if keep]
        c = [group(word, of_image.tolist(), 1 / len(of_image)) for word in t]
        for m in range(len(t)):
            total += cross_entropy([scale * dot(c[m], unit(t[n])) for n in range(len(t))], m) / 2
            total += cross_entropy([scale * dot(c[n], unit(t[m])) for n in range(len(t))], m) / 2
        real += len(t)
    return total / real
