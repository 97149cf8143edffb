"""One annotator for all tests of this folder: loading spaCy takes a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from recaption.annotate import Annotator, meta
from recaption.annotate.meta_rules import is_meta_by_rules
from recaption.config import Annotate
from recaption.types import Caption, FinishReason, SubCaption


@pytest.fixture(scope="session")
def annotator() -> Annotator:
    return Annotator(Annotate())


def caption(text: str, n: int = 0, finish: FinishReason | None = "stop") -> Caption:
    return Caption(
        caption_id=f"k/long/{n}", generation="long", source="m:p", granularity="long", text=text, finish_reason=finish
    )


@pytest.fixture(scope="session")
def make() -> Callable[..., Caption]:
    return caption


@pytest.fixture(scope="session")
def subs(annotator: Annotator) -> Callable[..., tuple[SubCaption, ...]]:
    """Sub-captions of one text, or of the captions of one image."""

    def annotate(*texts: str, finish: FinishReason | None = "stop") -> tuple[SubCaption, ...]:
        (captions,) = annotator.annotate([[caption(text, n, finish) for n, text in enumerate(texts)]])
        return tuple(sub for done in captions for sub in done.sub_captions)

    return annotate


@pytest.fixture
def by_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """`is_meta` of sub-captions is what the rules say, without the weights."""

    def decided(*args: Any, is_negation: bool, **named: Any) -> bool:
        return is_meta_by_rules(*args, **named)

    monkeypatch.setattr(meta, "is_meta", decided)
