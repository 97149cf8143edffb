"""One batch in transformers' `generate`, every row with its own sampling, length, stop strings and random numbers.

`generate` knows one setting for a whole batch. Here it is run greedily, and what it sees as scores is already decided:
`Choose` leaves only the token that each row's own sampling picks. So requests of any kind share a batch, and a row
depends on its own seed alone: not on its neighbours, nor on its place.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import LogitsProcessor, StoppingCriteria

from recaption.engine.repetition import repeats
from recaption.types import FinishReason, Sampling


@dataclass(kw_only=True, slots=True)
class Row:
    """A request while it is answered. `tokens` are what was generated so far, with the end token if it came."""

    sampling: Sampling
    max_tokens: int  # of the request, or fewer where the model's length ends before
    tokens: list[int] = field(default_factory=list)
    finish_reason: FinishReason | None = None  # None while it runs
    text: str | None = None  # set where a stop string ended it
    generator: torch.Generator | None = None


class Choose(LogitsProcessor):
    """Scores [B, V] in, scores out in which each sampling row has only the token it drew (greedy rows unchanged).

    Temperature, then top-k, then top-p, as vLLM and transformers order them; the draw is Gumbel's maximum, which is a
    draw from the softmax of what is left (Maddison et al., "A* Sampling", 2014), made on the CPU for every device.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        for row in rows:
            if row.sampling.temperature > 0:
                row.generator = torch.Generator().manual_seed(row.sampling.seed)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        for i, row in enumerate(self.rows):
            if row.generator is None or row.finish_reason is not None:
                continue
            chosen = _draw(scores[i].float().cpu() / row.sampling.temperature, row.sampling, row.generator)
            scores[i] = float("-inf")
            scores[i, chosen] = 0.0
        return scores


def _draw(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """A token from `logits` [V] (already divided by the temperature), cut to the top k and then the top p of them."""
    if 0 < sampling.top_k < logits.numel():
        floor = logits.topk(sampling.top_k).values[-1]
        logits = logits.masked_fill(logits < floor, float("-inf"))
    if sampling.top_p < 1:
        ordered, order = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)  # mass of the likelier ones
        tail = torch.zeros_like(logits, dtype=torch.bool).scatter(0, order, before >= sampling.top_p)
        logits = logits.masked_fill(tail, float("-inf"))
    noise = torch.rand(logits.shape, generator=generator).clamp_min_(1e-20)
    return int((logits - torch.log(-torch.log(noise))).argmax())


class Follow(StoppingCriteria):
    """Takes up each row's new token and ends the row when it is done: bool [B], True for rows that have ended.

    `end` are the model's end tokens, `decode` turns tokens into text; once `halt` is set, all rows end.
    """

    def __init__(
        self, rows: Sequence[Row], end: frozenset[int], decode: Callable[[list[int]], str], halt: threading.Event
    ) -> None:
        self.rows, self.end, self.decode, self.halt = rows, end, decode, halt

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        halted = self.halt.is_set()
        for row, token in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
            if row.finish_reason is None:
                row.tokens.append(token)
                self._judge(row, token)
        return torch.tensor([row.finish_reason is not None or halted for row in self.rows], device=input_ids.device)

    def _judge(self, row: Row, token: int) -> None:
        """In vLLM's order: the end token, the length, a loop; a stop string wins over the last two."""
        if token in self.end and not row.sampling.ignore_eos:
            row.finish_reason = "stop"
            return
        if row.sampling.stop:
            # Only the end of the text is new: a stop string of n characters is at most n bytes' worth of tokens away.
            near = max(len(stop.encode()) for stop in row.sampling.stop) + 8
            if any(stop in self.decode(row.tokens[-near:]) for stop in row.sampling.stop):
                text = self.decode(row.tokens)
                cuts = [text.index(stop) for stop in row.sampling.stop if stop in text]
                if cuts:
                    row.finish_reason, row.text = "stop", text[: min(cuts)]
                    return
        if len(row.tokens) >= row.max_tokens:
            row.finish_reason = "length"
        elif not row.sampling.ignore_eos and repeats(row.tokens):
            row.finish_reason = "repetition"
