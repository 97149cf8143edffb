"""Training in several processes that average their gradients: `torchrun --nproc-per-node 3 -m training.locate.train …`.

On a machine whose cores other programs use as well, processes of one thread each get more done than one process with
several threads, which wait for each other at every operation.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist

RANK, RANKS = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
"""The number of this process and the number of processes, as torchrun sets them."""


def start() -> None:
    """Connect the processes, if there are several."""
    if RANKS > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")


def from_first(value: float) -> float:
    """The value that the first process has."""
    if RANKS == 1:
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    dist.broadcast(shared, 0)
    return float(shared)


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace the gradients by their means over all processes."""
    if RANKS == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    together = torch.cat([grad.flatten() for grad in grads])
    dist.all_reduce(together)
    for grad, mean in zip(grads, together.div_(RANKS).split([grad.numel() for grad in grads]), strict=True):
        grad.copy_(mean.view_as(grad))
