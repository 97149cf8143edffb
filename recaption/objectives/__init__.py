"""Training objectives of image-text models, as plain torch functions without a trainer.

They take embeddings in the order of a batch of `recaption.load`: B images with K texts each, and text k of image i at
[i, k].

    >>> from recaption import objectives
    >>> for batch in loader(dataset, num_workers=8):              # texts [B, K, L]
    ...     images, patches = vision(batch["images"])             # [B, D], [B, P, D]
    ...     texts = text(batch["texts"].flatten(0, 1)).unflatten(0, batch["texts"].shape[:2])  # [B, K, D]
    ...     chosen = objectives.choose_texts(*texts.shape[:2], device=texts.device)
    ...     loss = objectives.flair(images, patches, texts, chosen, pool=pool, scale=log_scale.exp(), bias=bias)

- Embeddings come as the encoder gives them: the functions normalise them where the objective does.
- `scale` is the factor of the cosine (the exponential of CLIP's `logit_scale`), a number or a tensor.
- bfloat16 and float16 embeddings are converted to float32 before the first product; float64 stays float64.
- `group` is a process group of torch.distributed. With one, each rank gives its own B images (the same number on all
  ranks), texts of all ranks are negatives, and gradients reach the rank that computed them. The loss is that of this
  rank's images: averaged over ranks, as DistributedDataParallel averages gradients, it is the loss of the global batch.

Needs torch only.
"""

from __future__ import annotations

import importlib.util

from recaption.errors import MissingExtra

if importlib.util.find_spec("torch") is None:
    raise MissingExtra("torch", "train")

from recaption.objectives.baselines import clip, siglip
from recaption.objectives.distributed import gathered
from recaption.objectives.dreamlip import dreamlip, multi_positive_contrastive, sub_caption_grouping
from recaption.objectives.flair import (
    AttentionPool,
    choose_texts,
    flair,
    multi_positive_sigmoid,
    text_conditioned_sigmoid,
)
from recaption.objectives.grouping import sparse_groups
from recaption.objectives.sparc import sequence_wise, sparc

__all__ = [
    "AttentionPool",
    "choose_texts",
    "clip",
    "dreamlip",
    "flair",
    "gathered",
    "multi_positive_contrastive",
    "multi_positive_sigmoid",
    "sequence_wise",
    "siglip",
    "sparc",
    "sparse_groups",
    "sub_caption_grouping",
    "text_conditioned_sigmoid",
]
