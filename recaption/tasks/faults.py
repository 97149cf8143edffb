"""Why a completion with a structured answer cannot be used, before its text is read."""

from __future__ import annotations

from typing import cast

from recaption.tasks.base import Parsed
from recaption.tasks.caption import is_refusal
from recaption.types import Completion, FinishReason


def fault(completion: Completion) -> Parsed | None:
    """What is wrong with a completion: it was cut off, is a refusal, or the engine failed. None: nothing.

    For answers with several parts, which are used as a whole or not at all.
    """
    if completion.finish_reason == "length":
        return Parsed(finish="invalid", reason="truncated_answer", detail="the answer was cut off")
    if completion.finish_reason != "stop":
        return Parsed(finish=cast(FinishReason, completion.finish_reason))
    return Parsed(finish="refusal") if is_refusal(completion.text) else None
