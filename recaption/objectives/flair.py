"""FLAIR's objective: text-conditioned attention pooling and two sigmoid losses.

Xiao et al., CVPR 2025, arXiv 2412.03561. Where the paper leaves a choice open, this is what the release does
(github.com/ExplainableML/flair, commit 0f9ce05); references are to files of its `src/flair`. FLAIR trains with scale
1/0.07 (at most 100) and bias -10 at the start, K = 8 texts of up to 3 sentences, and the mean of both losses.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recaption.objectives.distributed import Group, gathered, rank_of
from recaption.objectives.numeric import Number, sigmoid_loss, unit


class AttentionPool(nn.Module):
    """Text-conditioned attention pooling (transformer.py:226-260): texts attend to patches.

    One multi-head attention with a LayerNorm each for query, key and value, no residual and no MLP. One zero key and
    value is added, so that a text can attend to nothing.
    """

    def __init__(self, width: int, heads: int = 8) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True, add_zero_attn=True)
        self.norm_query, self.norm_key, self.norm_value = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, texts: Tensor, patches: Tensor) -> Tensor:
        """Texts [B, M, D], not normalised, and patches [B, P, D] -> [B, M, D]: patches of image i pooled for text j."""
        query, key, value = self.norm_query(texts), self.norm_key(patches), self.norm_value(patches)
        pooled: Tensor = self.attention(query, key, value, need_weights=False)[0]
        return pooled


def choose_texts(
    images: int,
    texts_per_image: int,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """The texts that each image is compared with: its own and one random text of each other image (loss.py:434-454).

    int64 [B, K + B - 1], rows ascending: numbers of texts, i * K + k for text k of image i. Equal to the release for
    equal states of the generator.
    """
    row = torch.arange(images, device=device)[:, None]
    other = torch.arange(images - 1, device=device).expand(images, -1)
    other = other + (other >= row)  # all images but the row's own
    drawn = torch.randint(texts_per_image, other.shape, generator=generator, device=device)
    own = row * texts_per_image + torch.arange(texts_per_image, device=device)
    return torch.cat([own, other * texts_per_image + drawn], dim=1).sort(dim=1).values


def text_conditioned_sigmoid(
    patches: Tensor,
    texts: Tensor,
    chosen: Tensor,
    *,
    pool: nn.Module,
    scale: Number,
    bias: Number,
    group: Group = None,
) -> Tensor:
    """Text-conditioned sigmoid loss (loss.py:256-272); a scalar.

    For image i, text j of its M chosen ones: v_ij = pool(t_j; patches of i), z_ij = scale <v_ij, t_j> + bias with v and
    t of unit length. L = -1/M sum_ij log sigmoid(y_ij z_ij), y_ij = 1 for texts of image i, else -1.

    patches: [B, P, D]; texts: [B, K, D]; chosen: int64 [B, M], from `choose_texts`, or any numbers of texts: at
    inference FLAIR compares each image with all texts, `torch.arange(B * K).expand(B, -1)`. pool: an `AttentionPool`.

    With `group`, image i is also compared with what image i of each other rank has chosen there, as negatives, each
    rank's part with its own divisor M (loss.py:323-427).
    """
    number, per_image = texts.shape[:2]
    all_texts, all_chosen = gathered(texts.flatten(0, 1), group), gathered(chosen, group)
    image = torch.arange(number, device=texts.device)[:, None]
    parts = []
    for rank, (candidates, numbers) in enumerate(zip(all_texts, all_chosen, strict=True)):
        compared = candidates[numbers]  # [B, M, D]
        positive = (numbers // per_image == image) & (rank == rank_of(group))
        logits = scale * (unit(pool(compared, patches)) * unit(compared)).sum(-1) + bias
        parts.append(sigmoid_loss(logits, positive) / numbers.shape[1])
    return torch.stack(parts).sum()


def multi_positive_sigmoid(
    images: Tensor, texts: Tensor, *, scale: Number, bias: Number, group: Group = None
) -> Tensor:
    """Multi-positive sigmoid loss (loss.py:275-287): SigLIP's loss, each image with K positive texts; a scalar.

    With x and t of unit length and z_ij = scale <x_i, t_j> + bias over all BK texts:
    L = -1/(BK) sum_ij log sigmoid(y_ij z_ij), y_ij = 1 for texts of image i, else -1.

    images: [B, D]; texts: [B, K, D].
    """
    number, per_image = texts.shape[:2]
    candidates = gathered(unit(texts), group).flatten(0, 2)
    logits = scale * unit(images) @ candidates.T + bias
    image_of = torch.arange(len(candidates), device=texts.device) // per_image
    own = torch.arange(number, device=texts.device) + rank_of(group) * number
    return sigmoid_loss(logits, image_of == own[:, None]) / (number * per_image)


def flair(
    images: Tensor,
    patches: Tensor,
    texts: Tensor,
    chosen: Tensor,
    *,
    pool: nn.Module,
    scale: Number,
    bias: Number,
    group: Group = None,
) -> Tensor:
    """The mean of `text_conditioned_sigmoid` and `multi_positive_sigmoid`, which share scale and bias; a scalar.

    Retrieval by the global image embedding needs the second one.
    """
    local = text_conditioned_sigmoid(patches, texts, chosen, pool=pool, scale=scale, bias=bias, group=group)
    return (local + multi_positive_sigmoid(images, texts, scale=scale, bias=bias, group=group)) / 2
