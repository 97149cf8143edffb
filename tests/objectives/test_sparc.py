"""SPARC's losses against loops over single tokens."""

from __future__ import annotations

import objective_loops as slow
import pytest
import torch
from torch import Tensor

from recaption import objectives


def words(b: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens [b, 4, 4], patches [b, 5, 4], and a mask with 4, 3, 2, 1, 4, … real tokens."""
    torch.manual_seed(b)
    mask = torch.arange(4) < 4 - (torch.arange(b)[:, None] % 4)
    return torch.randn(b, 4, 4).double(), torch.randn(b, 5, 4).double(), mask


@pytest.mark.parametrize("b", [1, 2, 5])
def test_equal_to_loops(b: int) -> None:
    tokens, patches, mask = words(b)
    images, texts = torch.randn(b, 4).double(), torch.randn(b, 4).double()
    fine = slow.sequence_wise(tokens, patches, mask, 6.0)
    assert objectives.sequence_wise(tokens, patches, mask, scale=6.0).item() == pytest.approx(fine, abs=1e-8)
    made = objectives.sparc(images, texts, patches, tokens, mask, scale=6.0, weights=(0.3, 0.7))
    assert made.item() == pytest.approx(0.3 * slow.clip(images, texts, 6.0) + 0.7 * fine, abs=1e-8)


def test_padding_changes_nothing() -> None:
    tokens, patches, mask = words(3)
    changed = torch.where(mask[..., None], tokens, 100.0)
    values = [objectives.sequence_wise(t, patches, mask, scale=6.0).item() for t in (tokens, changed)]
    assert values[0] == values[1]


def test_one_token_gives_zero() -> None:
    tokens, patches, _ = words(2)
    mask = torch.tensor([[True, False, False, False]] * 2)
    assert objectives.sequence_wise(tokens, patches, mask, scale=6.0).item() == pytest.approx(0, abs=1e-12)


def test_gradients() -> None:
    tokens, patches, mask = words(4)
    scale = torch.tensor(2.0).double().requires_grad_()
    torch.autograd.gradcheck(
        lambda t, p, s: objectives.sequence_wise(t, p, mask, scale=s),
        (tokens.requires_grad_(), patches.requires_grad_(), scale),
    )


def test_a_text_without_tokens_and_equal_patches_have_finite_gradients() -> None:
    tokens = torch.randn(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[False] * 3, [True] * 3])
    objectives.sequence_wise(tokens, torch.ones(2, 5, 4), mask, scale=6.0).backward()
    assert tokens.grad is not None and tokens.grad.isfinite().all()
