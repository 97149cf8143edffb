"""Sparse grouping of image patches by text, which SPARC and DreamLIP share."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from recaption.objectives.numeric import precise, unit

EPSILON: Final = 1e-10  # of the release of DreamLIP, open_clip/loss.py:376


def sparse_groups(texts: Tensor, patches: Tensor, *, threshold: float | None = None) -> Tensor:
    """The patches that belong to each text or token, averaged and of unit length: [B, N, D].

    For text n, patch p of the same image: a_np = <t_n, v_p>, scaled over p to [0, 1] by its minimum and maximum; values
    below `threshold` become 0; divided by their sum over p, these are the weights of the average.

    texts: [B, N, D]; patches: [B, P, D], as they are: normalise them first if cosines are wanted. threshold: default
    1/P. If all patches are equally similar to a text, it has no group: zeros.

    Source: SPARC, arXiv 2401.09865, pseudo-code; DreamLIP's release, open_clip/loss.py:369-388.
    """
    texts, patches = precise(texts), precise(patches)
    similarity = torch.einsum("bnd,bpd->bnp", texts, patches)
    lowest, highest = similarity.amin(-1, keepdim=True), similarity.amax(-1, keepdim=True)
    share = (similarity - lowest) / (highest - lowest + EPSILON)
    share = torch.where(share < (1 / patches.shape[1] if threshold is None else threshold), 0, share)
    weights = share / share.sum(-1, keepdim=True).clamp_min(EPSILON)
    return unit(torch.einsum("bnp,bpd->bnd", weights, patches))
