"""The captioner with the heads that only training needs, and its two losses."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Idefics3ForConditionalGeneration

from recaption.demo.scenes import BACKGROUNDS
from training.scene.batches import HEADS, IGNORE, Batch


class Seen(Protocol):
    """What the heads read from images: see `Batch`."""

    @property
    def cells(self) -> torch.Tensor: ...

    @property
    def background(self) -> torch.Tensor: ...


def position_maps(side: int) -> list[torch.Tensor]:
    """The position ids transformers gives `side` x `side` patches in float32, bfloat16, float16: int64 [side^2] each.

    It rounds row / side to the pixels' type before it looks for the bucket (Idefics3VisionEmbeddings.forward): of six
    rows, bfloat16 then puts 5 on 4. vLLM computes in float32. The model trains on all three, so that it describes alike
    in any of them.
    """
    boundaries = torch.arange(1 / side, 1.0, 1 / side)
    exact = torch.arange(side, dtype=torch.float32) * (1.0 / torch.tensor([side]))
    maps = []
    for kind in (torch.float32, torch.bfloat16, torch.float16):
        bucket = torch.bucketize(exact.clamp(max=1 - 1e-6).to(kind), boundaries, right=True)
        maps.append((bucket[:, None] * side + bucket[None, :]).flatten())
    return maps


class Learner(nn.Module):
    """`model` plus linear heads that read from each image token what stands in its cell."""

    def __init__(self, model: Idefics3ForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        vision, text = model.config.vision_config, model.config.text_config
        self.cell_head = nn.Linear(text.hidden_size, sum(HEADS.values()))
        self.background_head = nn.Linear(text.hidden_size, len(BACKGROUNDS))
        self.maps = position_maps(vision.image_size // vision.patch_size)

    def see(self, pixels: torch.Tensor, kind: int = 0) -> torch.Tensor:
        """float [B, 3, S, S] to image tokens [B, 9, D]: the model's own vision path without its masks."""
        vision = self.model.model.vision_model
        patches = vision.embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
        hidden = patches + vision.embeddings.position_embedding(self.maps[kind])
        hidden = vision.encoder(inputs_embeds=hidden, attention_mask=None).last_hidden_state
        return self.model.model.connector(vision.post_layernorm(hidden))

    def look_up(self, tokens: torch.Tensor, batch: Seen) -> tuple[torch.Tensor, torch.Tensor]:
        """The auxiliary loss, and the shares of cells and backgrounds classed right: float [2]."""
        parts = self.cell_head(tokens).split(list(HEADS.values()), dim=-1)
        background = self.background_head(tokens.mean(1))
        loss = F.cross_entropy(background, batch.background)
        right = torch.ones(batch.cells.shape[:2], dtype=torch.bool)
        for k, logits in enumerate(parts):
            wanted = batch.cells[:, :, k]
            loss = loss + F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=IGNORE)
            right &= (logits.argmax(-1) == wanted) | (wanted == IGNORE)
        occupied = batch.cells[:, :, 0] == 1
        return loss, torch.stack(
            [right[occupied].float().mean(), (background.argmax(-1) == batch.background).float().mean()]
        )

    def describe(self, tokens: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss of the answers' tokens. Padding is on the right, so a causal model needs no mask for it."""
        inner = self.model.model
        embedded = inner.text_model.embed_tokens(batch.input_ids)
        where = (batch.input_ids == self.model.config.image_token_id).unsqueeze(-1)
        embedded = embedded.masked_scatter(where, tokens)
        hidden = inner.text_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
        wanted = batch.labels[:, 1:]
        asked = wanted != IGNORE
        return F.cross_entropy(self.model.lm_head(hidden[:, :-1][asked]), wanted[asked])
