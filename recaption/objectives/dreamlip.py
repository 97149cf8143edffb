"""DreamLIP's objective: multi-positive contrast, and grouping of patches by sub-caption.

Zheng et al., ECCV 2024, arXiv 2403.17007. This is the objective as the paper describes it. The released code
(github.com/zyf0619sjtu/DreamLIP, commit d2aeea8) differs in the grouping loss by two faults:

- Order: texts are stacked as [K, B, D] and then viewed as [B, K, D] (open_clip/loss.py:344, 369). With more than one
  image and text, patches of an image are grouped by texts of other images.
- Scale: the loss is called with `logit_scale_local` None (open_clip/model.py:287, 417) and raises TypeError.

Published results therefore come from another state of that code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recaption.objectives.baselines import clip
from recaption.objectives.distributed import Group
from recaption.objectives.grouping import sparse_groups
from recaption.objectives.numeric import Number, unit


def multi_positive_contrastive(images: Tensor, texts: Tensor, *, scale: Number, group: Group = None) -> Tensor:
    """`clip` of the images and their k-th texts, averaged over k (open_clip/loss.py:330-342); a scalar.

    Texts of one image are never negatives of each other. images: [B, D]; texts: [B, K, D]. K = 1 is CLIP.
    """
    return torch.stack([clip(images, of_each, scale=scale, group=group) for of_each in texts.unbind(1)]).mean()


def sub_caption_grouping(
    patches: Tensor, texts: Tensor, *, scale: Number, threshold: float | None = 0.0, group: Group = None
) -> Tensor:
    """Sub-caption grouping (open_clip/loss.py:360-394): `clip` of BK groups of patches and BK texts; a scalar.

    Text k of image i groups the patches of image i by cosine (`sparse_groups`). All other texts, those of image i too,
    are negatives.

    patches: [B, P, D], projected to the texts' width; texts: [B, K, D]; threshold: 0 is the release's default, None is
    1/P. `scale` is a parameter of its own: the global loss has another one.
    """
    texts = unit(texts)
    groups = sparse_groups(texts, unit(patches), threshold=threshold)
    return clip(groups.flatten(0, 1), texts.flatten(0, 1), scale=scale, group=group)


def dreamlip(
    images: Tensor,
    patches: Tensor,
    texts: Tensor,
    *,
    scale: Number,
    local_scale: Number,
    weight: float = 1.0,
    group: Group = None,
) -> Tensor:
    """`multi_positive_contrastive` plus `weight` times `sub_caption_grouping` with its defaults; a scalar.

    The first text of an image is its raw caption in `recaption.load.policy.dreamlip`.
    """
    local = sub_caption_grouping(patches, texts, scale=local_scale, group=group)
    return multi_positive_contrastive(images, texts, scale=scale, group=group) + weight * local
