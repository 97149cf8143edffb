"""Small models that are included, and the rendered scenes that they were trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

EMBEDDED: Final = {
    "scene": "model",
    "scene-verifier": "verifier",
    "scene-encoder": "encoder",
    "scene-boxes": "boxes",
    "scene-text": "text",
    "scene-rewriter": "rewriter",
}
"""The included models by name, with their folders. Every copy of recaption has them, so a name is enough on any node.

`scene` describes scenes, `scene-verifier` also answers whether a statement is true of one, `scene-encoder` is a SigLIP
model (image-text scores and embeddings), `scene-boxes` locates phrases. Two read no images: `scene-text` writes
negatives of sentences, and `scene-rewriter` writes rewrites of captions.
"""


def model_path(name: str = "scene") -> Path:
    """The folder of an included model, in the format of transformers. vLLM can load all except `scene-encoder`."""
    return Path(__file__).parent / EMBEDDED[name]
