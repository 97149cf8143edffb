"""Parses answers that are used as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from recaption.tasks.base import Parsed
from recaption.tasks.caption import is_refusal
from recaption.types import Completion, FinishReason


def fault(completion: Completion) -> Parsed | None:
    """What is wrong with a completion before its text is read: it was cut off, is a refusal, or the engine failed.

    None: nothing.
    """
    if completion.finish_reason == "length":
        return Parsed(finish="invalid", reason="truncated_answer", detail="the answer was cut off")
    if completion.finish_reason != "stop":
        return Parsed(finish=cast(FinishReason, completion.finish_reason))
    return Parsed(finish="refusal") if is_refusal(completion.text) else None


def parse_whole(completion: Completion, read: Callable[[str], Parsed]) -> Parsed:
    """What `read` makes of the text of a completion. If it raises ValueError, the answer is invalid."""
    if (found := fault(completion)) is not None:
        return found
    try:
        return read(completion.text)
    except ValueError as error:
        return Parsed(finish="invalid", detail=str(error))
