"""A captioner small enough to ship, and the scenes it was trained on: real vision and language, no download."""

from __future__ import annotations

from pathlib import Path


def model_path() -> Path:
    """The directory of the embedded scene captioner: an Idefics3 model as transformers and vLLM load it."""
    return Path(__file__).parent / "model"
