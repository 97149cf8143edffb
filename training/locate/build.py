"""The box model before training: the captioner's vision encoder, and a small text model that writes boxes.

Answers have the format of Florence-2, a phrase and `<loc_x0><loc_y0><loc_x1><loc_y1>` in thousandths of each side, with
numbers in steps of five, each of which is one token.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from recaption.demo.scenes import COLOURS, FILLS, SHAPES, SIZES
from training.scene.build import AROUND, GLOBAL, IMAGE, build_model, build_processor
from training.scene.pieces import tokenizer_of

if TYPE_CHECKING:
    import torch
    from transformers import Idefics3ForConditionalGeneration, Idefics3Processor, PreTrainedTokenizerFast

QUESTION = "Locate the phrases in the caption:"  # prompts/regions_florence2.md
BACKGROUNDS = {"wood": "wooden table top", "tablecloth": "checkered tablecloth"}  # those that captions name by a noun
STEP = 5
LOCS = tuple(f"<loc_{n}>" for n in range(0, 1000, STEP))
WIDTH, LAYERS, HEADS, INNER = 128, 3, 4, 384


def question(phrases: list[str]) -> str:
    """The prompt about `phrases`."""
    return f"{QUESTION} {', '.join(phrases)}"


def build_tokenizer() -> PreTrainedTokenizerFast:
    words = [f" {word}" for group in (COLOURS, FILLS, SHAPES, SIZES) for word in group]
    words += [f" {word}" for text in BACKGROUNDS.values() for word in text.split()]
    return tokenizer_of((*LOCS, QUESTION, "assistant\n", "user\n"), [*words, ",", "\n"], (AROUND, IMAGE, GLOBAL))


def load(start: Path) -> tuple[Idefics3ForConditionalGeneration, Idefics3Processor]:
    """A model with the vision encoder of the captioner of `start` and a fresh text model; seed torch first.

    The vectors of near coordinates start near each other, so that what is learnt of one holds for its neighbours.
    """
    import torch
    from transformers import Idefics3ForConditionalGeneration

    tokenizer = build_tokenizer()
    model = build_model(tokenizer, width=WIDTH, layers=LAYERS, heads=HEADS, inner=INNER)
    captioner = Idefics3ForConditionalGeneration.from_pretrained(start, dtype=torch.float32).model
    model.model.vision_model.load_state_dict(captioner.vision_model.state_dict())
    with torch.no_grad():
        first = tokenizer.convert_tokens_to_ids(LOCS[0])
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            layer.weight[first : first + len(LOCS)] = _smooth(len(LOCS), WIDTH)
    return model, build_processor(tokenizer)


def _smooth(n: int, width: int, scales: tuple[float, ...] = (3.0, 30.0), deviation: float = 0.05) -> torch.Tensor:
    """float [n, width]: random Fourier features of 0 to n - 1 (Rahimi and Recht, 2007), for Gaussian kernels."""
    import torch

    each = width // len(scales)
    frequencies = torch.cat([torch.randn(each) / scale for scale in scales])
    phases = torch.rand(width) * math.tau
    return deviation * math.sqrt(2) * torch.cos(torch.arange(n)[:, None] * frequencies + phases)
