"""recaption.tasks.box_settings: boxes of a model in shares of the image."""

from __future__ import annotations

from dataclasses import replace

import pytest
from task_units import answer, completion

from recaption.tasks.box_settings import BoxSettings, share_of
from recaption.types import Attempt


def test_pixels_count_in_the_image_that_the_model_was_shown() -> None:
    settings = BoxSettings.model_validate({})
    assert settings.box([0, 0, 420, 280], settings.size((840, 560), None)) == (0, 0, 0.5, 0.5)
    assert settings.box([0, 0, 420, 280], settings.size((840, 560), None, 0.25)) == (0, 0, 1, 1)
    small = BoxSettings.model_validate({"max_pixels": 50_000})  # 252 x 168
    assert small.box([0, 0, 126, 84], small.size((840, 560), None)) == (0, 0, 0.5, 0.5)


def test_the_size_that_the_engine_returned_takes_precedence() -> None:
    settings = BoxSettings.model_validate({"max_pixels": 50_000})
    assert settings.size((840, 560), [448, 280]) == settings.size((None, None), (448, 280), 0.25) == (448, 280)
    stored = answer({"boxes": [], **settings.shown_of(completion(shown=(448, 280)))})
    assert settings.size_of(stored, (840, 560)) == (448, 280)
    assert settings.size_of(answer({"boxes": []}), (840, 560)) == (252, 168)
    assert settings.shown_of(completion()) == {}


def test_only_pixels_need_the_size_of_the_image() -> None:
    other = BoxSettings.model_validate({"format": "qwen3_vl"})
    assert other.size((None, None), (448, 280)) is None and other.shown_of(completion(shown=(448, 280))) == {}
    assert other.box([0, 0, 500, 250], None) == (0, 0, 0.5, 0.25)
    with pytest.raises(ValueError, match="the size of the image, which is not known"):
        BoxSettings.model_validate({}).size((None, None), None)


@pytest.mark.parametrize(("share", "expected"), [(None, 1.0), (0.25, 0.25)])
def test_the_last_attempt_gave_the_answer(share: float | None, expected: float) -> None:
    first = Attempt(seed=0, temperature=0, finish_reason="invalid", output_tokens=1, pixel_share=0.5)
    last = replace(first, finish_reason="stop", pixel_share=share)
    assert share_of(replace(answer({}), attempts=(first, last))) == expected
    assert share_of(answer({})) == 1.0
