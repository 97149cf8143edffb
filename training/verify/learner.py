"""The captioner with its auxiliary heads, and the losses of blocks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from training.scene.learner import Learner
from training.verify.blocks import ANSWER, CAPTION, SAY, Blocks


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """Mean cross entropies; `answered` is the probability of the right answer to each question, in order."""

    caption: torch.Tensor
    answer: torch.Tensor
    say: torch.Tensor
    answered: torch.Tensor  # float [number of claims]


class Verifier(Learner):
    """`Learner`, whose text model also answers several questions about one image."""

    def hidden(self, tokens: torch.Tensor, batch: Blocks) -> torch.Tensor:
        """The text model's last hidden states, float [B, T, D], of image tokens [B, 9, D] and a batch's texts."""
        inner = self.model.model
        embedded = inner.text_model.embed_tokens(batch.input_ids)
        where = (batch.input_ids == self.model.config.image_token_id).unsqueeze(-1)
        embedded = embedded.masked_scatter(where, tokens)
        output = inner.text_model(
            inputs_embeds=embedded, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden

    def losses(self, tokens: torch.Tensor, batch: Blocks) -> Losses:
        """The losses of captions, answers and statements."""
        learnt = batch.roles > 0
        roles, targets = batch.roles[learnt], batch.targets[learnt]
        logits = self.model.lm_head(self.hidden(tokens, batch)[learnt])
        each = F.cross_entropy(logits, targets, reduction="none")
        return Losses(
            caption=each[roles == CAPTION].mean(),
            answer=each[roles == ANSWER].mean(),
            say=each[roles == SAY].mean(),
            answered=(-each[roles == ANSWER].detach()).exp(),
        )
