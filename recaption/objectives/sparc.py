"""SPARC's objective: sparse fine-grained contrast within each pair, and a global contrast.

Bica et al., ICML 2024, arXiv 2401.09865. There is no official code; this is the common core of public
re-implementations of the paper's pseudo-code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recaption.objectives.baselines import clip
from recaption.objectives.distributed import Group
from recaption.objectives.grouping import sparse_groups
from recaption.objectives.numeric import Number, unit


def sequence_wise(tokens: Tensor, patches: Tensor, mask: Tensor, *, scale: Number) -> Tensor:
    """The sequence-wise fine-grained loss; a scalar.

    c_m: the group of token m (`sparse_groups`, threshold 1/P). Within each sample z_mn = scale <c_m, t_n>, t of unit
    length, padded tokens left out. L = the mean over all real tokens of (CE(z_m*, m) + CE(z_*m, m)) / 2.
    A text with one token has loss 0. Tokens that occur twice in a text are negatives of each other.

    tokens: [B, T, D], the text encoder's output at each token; patches: [B, P, D]; mask: bool [B, T], False at
    padding, which is `batch["text_mask"][:, k]` of the loader.
    """
    groups = sparse_groups(tokens, patches)
    logits = scale * torch.einsum("bmd,bnd->bmn", groups, unit(tokens))
    logits = logits.masked_fill(~(mask[:, :, None] & mask[:, None, :]), torch.finfo(logits.dtype).min)
    own = logits.diagonal(dim1=1, dim2=2)
    each = (logits.logsumexp(2) + logits.logsumexp(1)) / 2 - own
    return torch.where(mask, each, 0).sum() / mask.sum().clamp_min(1)


def sparc(
    images: Tensor,
    texts: Tensor,
    patches: Tensor,
    tokens: Tensor,
    mask: Tensor,
    *,
    scale: Number,
    weights: tuple[float, float],
    group: Group = None,
) -> Tensor:
    """weights[0] times the global loss (`clip` of `images` and `texts`, [B, D]) plus weights[1] times `sequence_wise`.

    The paper's weights are not reproduced here; choose them. `sequence_wise` compares nothing across samples, so
    `group` concerns the global loss only.
    """
    of_all, fine = weights
    return of_all * clip(images, texts, scale=scale, group=group) + fine * sequence_wise(
        tokens, patches, mask, scale=scale
    )
