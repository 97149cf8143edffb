"""The texts of a batch, and integers that say where each came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from recaption.errors import UserError
from recaption.load.policy import Drawn
from recaption.types import Record

Tokenizer = Callable[[list[str]], Any]
"""Texts -> ids [n, L], as open_clip's and transformers' (with `padding` and `return_tensors` bound) give them."""


def tokens(tokenizer: Tokenizer, drawn: Sequence[Sequence[Drawn]]) -> Any:
    """int64 [B, K, L]. Raises UserError where samples have different numbers of texts, or ids are not [texts, L]."""
    import torch

    k = len(drawn[0])
    if any(len(texts) != k for texts in drawn):
        counts = sorted({len(texts) for texts in drawn})
        raise UserError(
            f"the policy gave {counts} texts for images of one batch; with a tokenizer all need equally many"
        )
    made = tokenizer([one.text for texts in drawn for one in texts])
    ids = torch.as_tensor(made["input_ids"] if isinstance(made, Mapping) else made)
    if ids.ndim != 2 or len(ids) != len(drawn) * k:
        raise UserError(
            f"the tokenizer gave {list(ids.shape)} for {len(drawn) * k} texts; it has to give [texts, length]"
        )
    return ids.to(torch.int64).view(len(drawn), k, ids.shape[1])


def provenance(
    records: Sequence[Record], drawn: Sequence[Sequence[Drawn]], generations: Sequence[str]
) -> dict[str, Any]:
    """[B, K] each; where samples have fewer texts than others, the rest is -1 and weight 0.

    `caption`: position in `record.captions`, -1 of several. `idx`: of the first sub-caption in the text, -1 the whole
    caption. `generation`: position in `generations`, -1 of several. `weight`: float32.
    """
    import torch

    numbers = {name: n for n, name in enumerate(generations)}
    shape = len(drawn), max(map(len, drawn))
    made = {name: np.full(shape, -1, np.int64) for name in ("caption", "idx", "generation")}
    weight = np.zeros(shape, np.float32)
    for n, (record, ones) in enumerate(zip(records, drawn, strict=True)):
        of = [record.captions[one.caption].generation if one.caption >= 0 else "" for one in ones]
        made["caption"][n, : len(ones)] = [one.caption for one in ones]
        made["idx"][n, : len(ones)] = [one.parts[0][1] if one.parts else -1 for one in ones]
        made["generation"][n, : len(ones)] = [numbers.get(name, -1) for name in of]
        weight[n, : len(ones)] = [one.weight for one in ones]
    return {name: torch.from_numpy(array) for name, array in (*made.items(), ("weight", weight))}
