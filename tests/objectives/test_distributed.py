"""Two ranks under gloo: the mean of their losses and gradients is that of the global batch."""

from __future__ import annotations

from pathlib import Path

import objective_loops as slow
import pytest
import torch
from torch import Tensor, distributed, multiprocessing

from recaption import objectives

RANKS, B, K, P, D = 2, 2, 3, 4, 4
SCALE, BIAS = 5.0, -2.0
NAMES = ("clip", "siglip", "dreamlip", "sparc", "flair")


def given() -> tuple[list[Tensor], Tensor, objectives.AttentionPool]:
    """Images, patches and texts of all ranks, rank-major; chosen texts of each rank; the pool."""
    torch.manual_seed(0)
    shapes = ((RANKS * B, D), (RANKS * B, P, D), (RANKS * B, K, D))
    tensors = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    pool = objectives.AttentionPool(D, 2).double()
    return tensors, torch.stack([objectives.choose_texts(B, K) for _ in range(RANKS)]), pool


def loss(
    name: str, tensors: list[Tensor], chosen: Tensor, pool: objectives.AttentionPool, group: object = None
) -> Tensor:
    images, patches, texts = tensors
    if name == "clip":
        return objectives.clip(images, texts[:, 0], scale=SCALE, group=group)
    if name == "siglip":
        return objectives.siglip(images, texts[:, 0], scale=SCALE, bias=BIAS, group=group)
    if name == "dreamlip":
        return objectives.dreamlip(images, patches, texts, scale=SCALE, local_scale=3.0, group=group)
    if name == "sparc":
        mask = torch.ones(texts.shape[:2], dtype=torch.bool)  # as many tokens on each rank
        return objectives.sparc(images, texts[:, 0], patches, texts, mask, scale=SCALE, weights=(0.3, 0.7), group=group)
    return objectives.flair(images, patches, texts, chosen, pool=pool, scale=SCALE, bias=BIAS, group=group)


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS)
    try:
        made = {}
        for name in NAMES:
            tensors, chosen, pool = given()
            own = slice(rank * B, rank * B + B)
            value = loss(name, [t[own] for t in tensors], chosen[rank], pool, distributed.group.WORLD)
            value.backward()
            made[name] = value.item(), [t.grad for t in tensors]
        torch.save(made, Path(folder, f"{rank}.pt"))
    finally:
        distributed.destroy_process_group()


def expected_flair(tensors: list[Tensor], chosen: Tensor, pool: objectives.AttentionPool) -> float:
    images, patches, texts = tensors
    local = 0.0
    for a in range(RANKS):  # images of rank a, texts of rank b
        for b in range(RANKS):
            of_a, of_b = slice(a * B, a * B + B), slice(b * B, b * B + B)
            local += slow.text_conditioned_sigmoid(
                pool, patches[of_a], texts[of_b], chosen[b].tolist(), SCALE, BIAS, own=a == b
            )
    # the sum over all pairs, divided by the texts of one rank, and averaged over ranks
    of_all = slow.multi_positive_sigmoid(images, texts, SCALE, BIAS) * RANKS
    return (local / RANKS + of_all / RANKS) / 2


def test_two_ranks_are_one_global_batch(tmp_path: Path) -> None:
    multiprocessing.spawn(run_rank, (str(tmp_path),), nprocs=RANKS)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(RANKS)]
    for name in NAMES:
        tensors, chosen, pool = given()
        value = sum(rank[name][0] for rank in ranks) / RANKS
        if name == "flair":
            assert value == pytest.approx(expected_flair(tensors, chosen, pool), abs=1e-8)
            continue
        expected = loss(name, tensors, chosen[0], pool)
        expected.backward()
        assert value == pytest.approx(expected.item(), abs=1e-8), name
        for n, tensor in enumerate(tensors):
            if tensor.grad is not None:
                found = sum(rank[name][1][n] for rank in ranks) / RANKS
                assert torch.allclose(found, tensor.grad, rtol=0, atol=1e-8), (name, n)


def test_without_a_group_there_is_one_rank() -> None:
    assert objectives.gathered(torch.arange(3)).tolist() == [[0, 1, 2]]
