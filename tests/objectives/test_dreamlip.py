"""DreamLIP's losses against loops, and the two faults of its released code that ours does not have."""

from __future__ import annotations

import objective_loops as slow
import pytest
import torch
from torch import Tensor

from recaption import objectives


def embeddings(b: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(10 * b + k)
    return torch.randn(b, 4).double(), torch.randn(b, 5, 4).double(), torch.randn(b, k, 4).double()


@pytest.mark.parametrize(("b", "k"), [(b, k) for b in (1, 2, 5) for k in (1, 3)])
def test_equal_to_loops(b: int, k: int) -> None:
    images, patches, texts = embeddings(b, k)
    of_all = sum(slow.clip(images, texts[:, n], 7.0) for n in range(k)) / k
    local = slow.sub_caption_grouping(patches, texts, 3.0, 0.0)
    made = objectives.multi_positive_contrastive(images, texts, scale=7.0)
    assert made.item() == pytest.approx(of_all, abs=1e-8)
    made = objectives.dreamlip(images, patches, texts, scale=7.0, local_scale=3.0, weight=0.5)
    assert made.item() == pytest.approx(of_all + 0.5 * local, abs=1e-8)
    made = objectives.sub_caption_grouping(patches, texts, scale=3.0, threshold=None)
    assert made.item() == pytest.approx(slow.sub_caption_grouping(patches, texts, 3.0, 1 / 5), abs=1e-8)


def test_one_text_per_image_is_clip() -> None:
    images, _, texts = embeddings(5, 1)
    made = objectives.multi_positive_contrastive(images, texts, scale=7.0)
    assert torch.equal(made, objectives.clip(images, texts[:, 0], scale=7.0))


def test_gradients() -> None:
    scales = [torch.tensor(n).double().requires_grad_() for n in (2.0, 1.5)]
    torch.autograd.gradcheck(
        lambda x, p, t, s, local: objectives.dreamlip(x, p, t, scale=s, local_scale=local),
        (*[t.requires_grad_() for t in embeddings(2, 3)], *scales),
        fast_mode=True,
    )


def in_released_order(texts: Tensor) -> Tensor:
    """[B, K, D] as open_clip/loss.py:344, 369 has it: stacked as [K, B, D], then viewed as [B, K, D]."""
    return torch.stack(texts.unbind(1)).view(texts.shape)


def test_released_order_fault() -> None:
    """The order of an image's texts must not matter. In the released order it does, as groups mix images."""
    _, patches, texts = embeddings(5, 3)
    shuffled = texts.clone()
    shuffled[0] = texts[0, [1, 2, 0]]

    def loss(of: Tensor) -> float:
        return objectives.sub_caption_grouping(patches, of, scale=3.0).item()

    assert loss(shuffled) == pytest.approx(loss(texts), abs=1e-12)
    assert abs(loss(in_released_order(shuffled)) - loss(in_released_order(texts))) > 1e-3
    assert abs(loss(in_released_order(texts)) - loss(texts)) > 1e-3
    assert torch.equal(in_released_order(texts[:, :1]), texts[:, :1])  # one text per image: no fault


def test_released_scale_fault() -> None:
    """The release passes None as the local scale, which cannot be computed with. Ours is an argument that learns."""
    _, patches, texts = embeddings(2, 3)
    with pytest.raises(TypeError):
        objectives.sub_caption_grouping(patches, texts, scale=None)
    scale = torch.tensor(1 / 0.07).double().requires_grad_()
    objectives.sub_caption_grouping(patches, texts, scale=scale).backward()
    assert scale.grad is not None and scale.grad.abs() > 1e-6
