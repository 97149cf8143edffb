"""The objectives of CLIP and SigLIP."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recaption.objectives.distributed import Group, gathered, rank_of
from recaption.objectives.flair import multi_positive_sigmoid
from recaption.objectives.numeric import Number, unit


def clip(images: Tensor, texts: Tensor, *, scale: Number, group: Group = None) -> Tensor:
    """CLIP's symmetric InfoNCE of N pairs (arXiv 2103.00020, figure 3); a scalar.

    With x and t of unit length and z_ij = scale <x_i, t_j>:
    L = (mean_i CE(z_i*, i) + mean_j CE(z_*j, j)) / 2, CE(z, n) = logsumexp(z) - z_n.

    images, texts: [N, D]. A batch of the loader has K texts per image: `texts[:, k]`.
    """
    images, texts = unit(images), unit(texts)
    of_image = scale * images @ gathered(texts, group).flatten(0, 1).T
    of_text = scale * texts @ gathered(images, group).flatten(0, 1).T
    pairs = torch.arange(len(images), device=images.device) + rank_of(group) * len(images)
    return (F.cross_entropy(of_image, pairs) + F.cross_entropy(of_text, pairs)) / 2


def siglip(images: Tensor, texts: Tensor, *, scale: Number, bias: Number, group: Group = None) -> Tensor:
    """SigLIP's sigmoid loss of N pairs (arXiv 2303.15343, algorithm 1); a scalar.

    With x and t of unit length and z_ij = scale <x_i, t_j> + bias:
    L = -1/N sum_ij log sigmoid(y_ij z_ij), y_ij = 1 if i = j, else -1.

    images, texts: [N, D]. SigLIP starts with scale 10 and bias -10.
    """
    return multi_positive_sigmoid(images, texts[:, None], scale=scale, bias=bias, group=group)
