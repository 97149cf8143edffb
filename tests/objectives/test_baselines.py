"""CLIP and SigLIP against loops over single pairs."""

from __future__ import annotations

import objective_loops as slow
import pytest
import torch
from torch import Tensor

from recaption import objectives


def pairs(n: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    torch.manual_seed(n)
    return torch.randn(n, 4, dtype=dtype, requires_grad=True), torch.randn(n, 4, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_equal_to_loops(n: int) -> None:
    images, texts = pairs(n)
    assert objectives.clip(images, texts, scale=7.0).item() == pytest.approx(slow.clip(images, texts, 7.0), abs=1e-8)
    assert objectives.siglip(images, texts, scale=7.0, bias=-3.0).item() == pytest.approx(
        slow.multi_positive_sigmoid(images, texts[:, None], 7.0, -3.0), abs=1e-8
    )


def test_gradients() -> None:
    scale, bias = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (2.0, -1.0))
    torch.autograd.gradcheck(lambda x, t, s: objectives.clip(x, t, scale=s), (*pairs(3), scale))
    torch.autograd.gradcheck(lambda x, t, s, b: objectives.siglip(x, t, scale=s, bias=b), (*pairs(3), scale, bias))


def test_one_pair_has_nothing_to_contrast() -> None:
    assert objectives.clip(*pairs(1), scale=7.0).item() == pytest.approx(0, abs=1e-12)
