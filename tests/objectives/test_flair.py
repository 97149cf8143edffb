"""FLAIR's losses against loops over single pairs, and its choice of negatives."""

from __future__ import annotations

from typing import NamedTuple

import objective_loops as slow
import pytest
import torch
from torch import Tensor

from recaption import objectives

SIZES = [(b, k) for b in (1, 2, 5) for k in (1, 3)]


class Embeddings(NamedTuple):
    images: Tensor
    patches: Tensor
    texts: Tensor
    chosen: Tensor
    pool: objectives.AttentionPool


def embeddings(b: int, k: int, width: int = 4, heads: int = 2) -> Embeddings:
    generator = torch.Generator().manual_seed(10 * b + k)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, width, dtype=torch.float64, generator=generator)

    pool = objectives.AttentionPool(width, heads).double()
    for parameter in pool.parameters():  # LayerNorms and biases too, or they would be 1 and 0
        torch.nn.init.normal_(parameter, generator=generator)
    chosen = objectives.choose_texts(b, k, generator=generator)
    return Embeddings(random(b), random(b, 3), random(b, k), chosen, pool)


@pytest.mark.parametrize(("b", "k"), SIZES)
def test_equal_to_loops(b: int, k: int) -> None:
    images, patches, texts, chosen, pool = embeddings(b, k)
    local = slow.text_conditioned_sigmoid(pool, patches, texts, chosen.tolist(), 5.0, -2.0)
    of_all = slow.multi_positive_sigmoid(images, texts, 5.0, -2.0)
    made = objectives.text_conditioned_sigmoid(patches, texts, chosen, pool=pool, scale=5.0, bias=-2.0)
    assert made.item() == pytest.approx(local, abs=1e-8)
    made = objectives.multi_positive_sigmoid(images, texts, scale=5.0, bias=-2.0)
    assert made.item() == pytest.approx(of_all, abs=1e-8)
    made = objectives.flair(images, patches, texts, chosen, pool=pool, scale=5.0, bias=-2.0)
    assert made.item() == pytest.approx((local + of_all) / 2, abs=1e-8)


@pytest.mark.parametrize(
    ("b", "k", "local", "both"),
    [(5, 3, 6.095743918104314, 5.4131042118416834), (2, 1, 3.7975439535366227, 2.968156933039177)],
)
def test_equal_to_the_release(b: int, k: int, local: float, both: float) -> None:
    """The values of FlairLoss and PureAttentionPoolingBlock of ExplainableML/flair, commit 0f9ce05 (src/flair/loss.py,
    transformer.py), for these tensors and weights, and for negatives that it draws with this seed. `local` is its loss
    without added_mps_loss."""
    images, patches, texts, _, pool = embeddings(b, k)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        chosen = objectives.choose_texts(b, k)
    made = objectives.text_conditioned_sigmoid(patches, texts, chosen, pool=pool, scale=5.0, bias=-2.0)
    assert made.item() == pytest.approx(local, abs=1e-8)
    made = objectives.flair(images, patches, texts, chosen, pool=pool, scale=5.0, bias=-2.0)
    assert made.item() == pytest.approx(both, abs=1e-8)


def test_all_texts_can_be_chosen() -> None:
    _, patches, texts, _, pool = embeddings(3, 2)
    chosen = torch.arange(6).expand(3, -1)
    made = objectives.text_conditioned_sigmoid(patches, texts, chosen, pool=pool, scale=5.0, bias=-2.0)
    expected = slow.text_conditioned_sigmoid(pool, patches, texts, chosen.tolist(), 5.0, -2.0)
    assert made.item() == pytest.approx(expected, abs=1e-8)


def test_gradients() -> None:
    images, patches, texts, chosen, pool = embeddings(2, 2)
    weights = dict(pool.named_parameters())
    given = [t.detach().requires_grad_() for t in (images, patches, texts, *weights.values())]
    numbers = [torch.tensor(n, dtype=torch.float64, requires_grad=True) for n in (2.0, -1.0)]

    def loss(scale: Tensor, bias: Tensor, images: Tensor, patches: Tensor, texts: Tensor, *values: Tensor) -> Tensor:
        def with_values(*inputs: Tensor) -> Tensor:
            return torch.func.functional_call(pool, dict(zip(weights, values, strict=True)), inputs)

        return objectives.flair(images, patches, texts, chosen, pool=with_values, scale=scale, bias=bias)

    torch.autograd.gradcheck(loss, (*numbers, *given), fast_mode=True)


@pytest.mark.parametrize(("b", "k"), SIZES)
def test_an_image_is_compared_with_its_texts_and_one_of_each_other_image(b: int, k: int) -> None:
    chosen = objectives.choose_texts(b, k, generator=torch.Generator().manual_seed(0)).tolist()
    for i, row in enumerate(chosen):
        assert row == sorted(row)
        assert [n // k for n in row] == sorted([*range(b), *[i] * (k - 1)])
        assert row[i : i + k] == list(range(i * k, i * k + k))  # where the release expects the positives


def test_negatives_are_random_and_reproducible() -> None:
    def drawn(seed: int) -> list[list[int]]:
        return objectives.choose_texts(6, 4, generator=torch.Generator().manual_seed(seed)).tolist()

    assert drawn(0) == drawn(0) != drawn(1)


def test_a_text_can_attend_to_nothing() -> None:
    """All attention on the zero key gives the output's bias, whatever the patches are."""
    pool = objectives.AttentionPool(4, 1).double()
    torch.nn.init.constant_(pool.attention.in_proj_weight, 0)
    torch.nn.init.constant_(pool.norm_key.weight, 0)
    pool.attention.in_proj_bias.data = torch.tensor([100.0] * 4 + [-100.0] * 4 + [1.0] * 4).double()
    made = pool(torch.randn(1, 2, 4).double(), torch.randn(1, 3, 4).double())
    assert torch.allclose(made, pool.attention.out_proj.bias.expand_as(made))
