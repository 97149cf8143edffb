"""The box model with the heads that only training needs, and its losses."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Idefics3ForConditionalGeneration

from training.locate.blocks import PLACE, SAY, Blocks
from training.locate.build import LOCS
from training.locate.phrases import WHOLE
from training.scene.learner import Learner

SPREAD = 1.2  # deviation of a coordinate's target, in tokens: near misses are almost right
CELL = 3.0  # boxes are learnt in units of a cell's side


class Losses(NamedTuple):
    """The losses of words, coordinates, cells pointed at, boxes at the ends of phrases, and boxes at the image tokens
    after the first layer of the text model, where their places are known. Then shares of what is right: words,
    coordinates within one token, and cells."""

    say: torch.Tensor
    place: torch.Tensor
    point: torch.Tensor
    box: torch.Tensor
    placed: torch.Tensor
    words: torch.Tensor
    near: torch.Tensor
    pointed: torch.Tensor


class Locator(Learner):
    """`Learner`, and heads that read a box from an image token, and from the last token of a phrase its cell and box.

    An image token's own vector need not tell in which cell it is; the text model gets that from its position.
    """

    def __init__(self, model: Idefics3ForConditionalGeneration, first_loc: int) -> None:
        super().__init__(model)
        width = model.config.text_config.hidden_size
        self.box_head, self.placed_head, self.text_box_head = (nn.Linear(width, 4) for _ in range(3))
        self.point_head = nn.Linear(width, WHOLE + 1)
        self.first = first_loc
        at = torch.arange(len(LOCS))
        self.register_buffer("soft", torch.softmax(-(((at[:, None] - at) / SPREAD) ** 2) / 2, dim=-1), persistent=False)

        cell = torch.arange(WHOLE)
        corner = torch.stack([cell % 3, cell // 3], 1).repeat(1, 2).float()
        self.register_buffer("corners", corner, persistent=False)

    def boxes_seen(self, tokens: torch.Tensor, batch: Blocks) -> torch.Tensor:
        """The loss of the boxes within their cells, read from the image tokens."""
        occupied = batch.cells[:, :, 0] == 1
        wanted = (batch.boxes * CELL - self.corners)[occupied]
        return F.smooth_l1_loss(self.box_head(tokens[occupied]), wanted, beta=0.05)

    def losses(self, tokens: torch.Tensor, batch: Blocks) -> Losses:
        """`tokens`: of all images; those that no sequence is about are ignored."""
        tokens, cells, true = (of_all[: len(batch.input_ids)] for of_all in (tokens, batch.cells, batch.boxes))
        inner = self.model.model
        embedded = inner.text_model.embed_tokens(batch.input_ids)
        where = (batch.input_ids == self.model.config.image_token_id).unsqueeze(-1)
        embedded = embedded.masked_scatter(where, tokens)
        output = inner.text_model(
            inputs_embeds=embedded,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            use_cache=False,
            output_hidden_states=True,
        )
        hidden = output.last_hidden_state
        occupied = cells[:, :, 0] == 1
        first = output.hidden_states[1][where[..., 0]].reshape(tokens.shape)
        placed_boxes = self.placed_head(first[occupied])
        said, placed = batch.roles == SAY, batch.roles == PLACE
        logits = self.model.lm_head(hidden[said])
        coordinates = self.model.lm_head(hidden[placed]).log_softmax(-1)
        wanted = batch.targets[placed] - self.first
        locs = coordinates[:, self.first : self.first + len(LOCS)]
        ends = batch.points >= 0
        points = batch.points[ends]
        row = torch.arange(len(batch.points))[:, None].expand_as(batch.points)[ends]
        objects = points < WHOLE
        at = hidden[ends]
        pointed = self.point_head(at)
        boxes = true[row[objects], points[objects]]
        return Losses(
            say=F.cross_entropy(logits, batch.targets[said]),
            place=-(self.soft[wanted] * locs).sum(-1).mean(),
            point=F.cross_entropy(pointed, points),
            box=F.smooth_l1_loss(self.text_box_head(at[objects]), boxes * CELL, beta=0.05),
            placed=F.smooth_l1_loss(placed_boxes, true[occupied] * CELL, beta=0.05),
            words=(logits.argmax(-1) == batch.targets[said]).float().mean(),
            near=((locs.argmax(-1) - wanted).abs() <= 1).float().mean(),
            pointed=(pointed.argmax(-1) == points).float().mean(),
        )
