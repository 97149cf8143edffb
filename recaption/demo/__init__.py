"""A small captioner that is included, and the rendered scenes that it was trained on."""

from __future__ import annotations

from pathlib import Path


def model_path() -> Path:
    """The folder of the embedded scene captioner, an Idefics3 model for transformers and vLLM."""
    return Path(__file__).parent / "model"
