"""A batch of transformers' `generate` in which each row has its own sampling, length, stop strings and random numbers.

`generate` has one setting for a whole batch. It therefore runs greedily, on scores in which `Choose` leaves only the
token that the row's sampling has drawn. Requests with different settings can share a batch, and a row depends on its
seed alone, not on the other rows or its position.
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
    """A request that is being answered. `tokens`: those generated so far, including the end token.

    With `paths`, the tokens of each of several choices, the answer is one of them: only tokens that continue one are
    drawn. With `spellings`, ids of tokens for each of several choices, it is one free token (`max_tokens` 1), and
    `choice_logprobs` gets a value for each choice (see `engine.base.Logprobs`).
    """

    sampling: Sampling
    max_tokens: int  # of the request, limited by the model's context length
    keep_logprobs: bool = False
    paths: tuple[tuple[int, ...], ...] = ()
    spellings: tuple[tuple[int, ...], ...] = ()
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)  # of `tokens`, with `keep_logprobs`
    choice_logprobs: tuple[float, ...] = ()
    finish_reason: FinishReason | None = None  # None: unfinished
    text: str | None = None  # set if a stop string ended it
    generator: torch.Generator | None = None

    def next_tokens(self) -> frozenset[int]:
        """The tokens that continue one of `paths`."""
        at = len(self.tokens)
        return frozenset(path[at] for path in self.paths if len(path) > at and list(path[:at]) == self.tokens)

    def is_choice(self, tokens: list[int]) -> bool:
        return tuple(tokens) in self.paths


class Choose(LogitsProcessor):
    """Scores [B, V] in, scores out in which each sampling row has only the token it drew.

    Greedy rows are unchanged, except that a row with `paths` has only tokens that continue one, and one of the end
    tokens `end` where a choice is complete. Log-probabilities are those of the scores that come in.

    Temperature, then top-k, then top-p, as vLLM and transformers order them. The draw uses the Gumbel-max trick, which
    samples from the softmax of the tokens that are left (Maddison et al., "A* Sampling", 2014), on the CPU for every
    device.
    """

    def __init__(self, rows: Sequence[Row], end: frozenset[int] = frozenset()) -> None:
        self.rows, self.end = rows, end
        for row in rows:
            if row.sampling.temperature > 0:
                row.generator = torch.Generator().manual_seed(row.sampling.seed)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        for i, row in enumerate(self.rows):
            if row.finish_reason is not None:
                continue
            logprobs = scores[i].float().log_softmax(-1) if row.keep_logprobs else None
            if row.paths:
                allowed = row.next_tokens() | (self.end if row.is_choice(row.tokens) else frozenset())
                others = torch.ones(scores.shape[-1], dtype=torch.bool, device=scores.device)
                others[sorted(allowed)] = False
                scores[i] = scores[i].masked_fill(others, float("-inf"))
            if row.generator is not None:
                chosen = _draw(scores[i].float().cpu() / row.sampling.temperature, row.sampling, row.generator)
                scores[i] = float("-inf")
                scores[i, chosen] = 0.0
            if logprobs is not None:
                row.logprobs.append(float(logprobs[int(scores[i].argmax())]))
                row.choice_logprobs = tuple(float(logprobs[list(ids)].logsumexp(-1)) for ids in row.spellings)
        return scores


def _draw(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """A token drawn from `logits` [V] (already divided by the temperature), restricted to the top k, then the top p."""
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
    """Adds each row's new token and ends finished rows. Returns bool [B], True for rows that have ended.

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
                self._check_end(row, token)
        return torch.tensor([row.finish_reason is not None or halted for row in self.rows], device=input_ids.device)

    def _check_end(self, row: Row, token: int) -> None:
        """In the order of vLLM: end token, length, loop. A stop string takes precedence over the last two."""
        if token in self.end and not row.sampling.ignore_eos:
            row.finish_reason = "stop"
            return
        if row.paths and row.is_choice(row.tokens) and not row.next_tokens():
            row.finish_reason = "stop"
            return
        if row.sampling.stop:
            # Only the end of the text is new: a stop string of n bytes is within the last n tokens.
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
