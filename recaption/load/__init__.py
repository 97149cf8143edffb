"""Datasets for torch: sampling policies of a record's texts, batches in a reproducible order, exact resume.

    >>> from recaption.load import CaptionDataset, loader, policy
    >>> dataset = CaptionDataset("out/flair-cc3m", policy=policy.flair(k=8), transform=crop, tokenizer="clip",
    ...                          batch_size=256)
    >>> for batch in loader(dataset, num_workers=8, pin_memory=True):
    ...     loss = model(batch["images"], batch["texts"])

Nothing here needs what makes datasets; policies do not even need torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recaption.load.dataset import CaptionDataset
    from recaption.load.deliver import CaptionLoader, loader
    from recaption.load.mixture import Mixture

__all__ = ["CaptionDataset", "CaptionLoader", "Mixture", "loader"]

_WHERE = {"CaptionDataset": "dataset", "CaptionLoader": "deliver", "Mixture": "mixture", "loader": "deliver"}


def __getattr__(name: str) -> Any:
    """torch is imported on the first access to a name that needs it."""
    if name in _WHERE:
        return getattr(importlib.import_module(f"recaption.load.{_WHERE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
