"""Datasets for torch: sampling policies of a record's texts, batches in a reproducible order, exact resume.

    >>> from recaption.load import CaptionDataset, loader, policy
    >>> dataset = CaptionDataset("out/flair-cc3m", policy=policy.flair(k=8), transform=crop, tokenizer="clip",
    ...                          batch_size=256)
    >>> for batch in loader(dataset, num_workers=8, pin_memory=True):
    ...     loss = model(batch["images"], batch["texts"])

Needs neither ray, vllm nor spaCy; policies do not need torch either.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recaption.load.config import LoaderConfig
    from recaption.load.dataset import CaptionDataset
    from recaption.load.embeddings import StoredEmbeddings
    from recaption.load.mixture import Mixture
    from recaption.load.plain import records
    from recaption.load.resumable import CaptionLoader, loader

__all__ = ["CaptionDataset", "CaptionLoader", "LoaderConfig", "Mixture", "StoredEmbeddings", "loader", "records"]

_MODULES = {
    "CaptionDataset": "dataset",
    "CaptionLoader": "resumable",
    "LoaderConfig": "config",
    "Mixture": "mixture",
    "StoredEmbeddings": "embeddings",
    "loader": "resumable",
    "records": "plain",
}


def __getattr__(name: str) -> Any:
    """Import torch on first use of a dataset."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"recaption.load.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
