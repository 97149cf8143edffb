"""What the objectives share: precision, unit length, and the sigmoid loss of a table of logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Number = Tensor | float
"""A scalar: a number, or a tensor with one element, which gets a gradient."""


def precise(tensor: Tensor) -> Tensor:
    """In float32 if the dtype has half precision, else unchanged."""
    return tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor


def unit(tensor: Tensor) -> Tensor:
    """With unit L2 norm over the last dimension, at least in float32. Zeros stay zeros."""
    return F.normalize(precise(tensor), dim=-1)


def sigmoid_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """The sum of -log sigmoid(±logit), + where the bool tensor `positive` is True."""
    return -F.logsigmoid(torch.where(positive, logits, -logits)).sum()
