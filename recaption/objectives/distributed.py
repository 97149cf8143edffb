"""Tensors of all ranks, with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed

Group = Any
"""A torch.distributed.ProcessGroup, or None for this process alone."""


def gathered(tensor: Tensor, group: Group = None) -> Tensor:
    """The tensors [...] of all ranks of `group` as [ranks, ...], in the order of ranks; without a group [1, ...].

    The gradient of a rank's tensor is the sum of the gradients that all ranks have for it. Shapes must be equal on all
    ranks.
    """
    if group is None:
        return tensor[None]
    gathering: Tensor = _Gathering.apply(tensor, group)
    return gathering


def rank_of(group: Group = None) -> int:
    """The rank of this process in `group`; 0 without a group."""
    return 0 if group is None else distributed.get_rank(group)


class _Gathering(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Group) -> Tensor:
        ctx.group = group
        parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size(group))]
        distributed.all_gather(parts, tensor.contiguous(), group=group)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone()
        distributed.all_reduce(total, group=ctx.group)
        return total[distributed.get_rank(ctx.group)], None
