"""All objectives in bfloat16, and traced whole by torch.compile, without its code generation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from recaption import objectives

B, K, P, D = 4, 2, 5, 8
CHOSEN = objectives.choose_texts(B, K, generator=torch.Generator().manual_seed(0))
MASK = torch.arange(P) < torch.tensor([[5], [3], [2], [1]])

Objective = Callable[[Tensor, Tensor, Tensor, torch.nn.Module], Tensor]
OBJECTIVES: dict[str, Objective] = {
    "clip": lambda x, p, t, pool: objectives.clip(x, t[:, 0], scale=10.0),
    "siglip": lambda x, p, t, pool: objectives.siglip(x, t[:, 0], scale=10.0, bias=-10.0),
    "flair": lambda x, p, t, pool: objectives.flair(x, p, t, CHOSEN, pool=pool, scale=10.0, bias=-10.0),
    "dreamlip": lambda x, p, t, pool: objectives.dreamlip(x, p, t, scale=10.0, local_scale=10.0),
    "sparc": lambda x, p, t, pool: objectives.sparc(x, t[:, 0], p, p, MASK, scale=10.0, weights=(1.0, 1.0)),
}


def given(dtype: torch.dtype) -> tuple[list[Tensor], torch.nn.Module]:
    torch.manual_seed(0)
    tensors = [torch.randn(*shape) for shape in ((B, D), (B, P, D), (B, K, D))]
    pool = objectives.AttentionPool(D, 2)
    # the same values in every dtype, so that only the arithmetic differs
    return [t.bfloat16().to(dtype).requires_grad_() for t in tensors], pool.bfloat16().to(dtype)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_bfloat16(name: str) -> None:
    expected_inputs, pool = given(torch.float64)
    expected = OBJECTIVES[name](*expected_inputs, pool)
    expected.backward()
    inputs, pool = given(torch.bfloat16)
    loss = OBJECTIVES[name](*inputs, pool)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)
    for found, right in zip(inputs, expected_inputs, strict=True):
        if right.grad is not None:
            assert found.grad is not None and found.grad.dtype == torch.bfloat16
            assert (found.grad.double() - right.grad).norm() <= 0.05 * right.grad.norm()


@pytest.mark.parametrize("name", ["flair", "sparc"])  # the others are parts of these, or made of the same parts
def test_torch_compile_has_one_graph(name: str) -> None:
    inputs, pool = given(torch.float64)
    compiled = torch.compile(OBJECTIVES[name], backend="aot_eager", fullgraph=True)
    with torch.random.fork_rng():
        loss = compiled(*inputs, pool)
    assert loss.item() == pytest.approx(OBJECTIVES[name](*inputs, pool).item(), abs=1e-10)
    loss.backward()
    assert any(one.grad is not None for one in inputs)
