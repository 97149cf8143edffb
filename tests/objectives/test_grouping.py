"""Sparse groups of patches: weights, threshold, and texts to which all patches are equal."""

from __future__ import annotations

import objective_loops as slow
import pytest
import torch

from recaption import objectives


@pytest.mark.parametrize("threshold", [0.0, 0.5, None])
def test_equal_to_loops(threshold: float | None) -> None:
    torch.manual_seed(0)
    texts, patches = torch.randn(2, 3, 4).double(), torch.randn(2, 5, 4).double()
    made = objectives.sparse_groups(texts, patches, threshold=threshold)
    for b in range(2):
        for n in range(3):
            at = 1 / 5 if threshold is None else threshold
            expected = slow.group(texts[b, n].tolist(), patches[b].tolist(), at)
            assert made[b, n].tolist() == pytest.approx(expected, abs=1e-8)


def test_a_high_threshold_leaves_the_best_patch() -> None:
    texts, patches = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[3.0, 4.0], [2.0, 0.0], [0.0, 1.0]]])
    assert objectives.sparse_groups(texts, patches, threshold=0.9)[0, 0].tolist() == pytest.approx([0.6, 0.8])


def test_equal_patches_have_no_group_and_a_finite_gradient() -> None:
    texts, patches = torch.randn(1, 2, 4, requires_grad=True), torch.ones(1, 3, 4, requires_grad=True)
    made = objectives.sparse_groups(texts, patches)
    made.sum().backward()
    assert made.tolist() == [[[0.0] * 4] * 2]
    assert texts.grad is not None and texts.grad.isfinite().all()
    assert patches.grad is not None and patches.grad.isfinite().all()
