"""The captioner is trained on the shipped prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.scene.prompts import LONG_PROMPTS, SHORT_PROMPTS

PROMPTS = Path(__file__).parents[2] / "prompts"


@pytest.mark.parametrize(("name", "text"), [("describe_long", LONG_PROMPTS[0]), ("describe_short", SHORT_PROMPTS[0])])
def test_the_first_prompt_is_the_shipped_one(name, text):
    body = (PROMPTS / f"{name}.md").read_text(encoding="utf-8").split("---\n", 2)[2]
    assert body.strip() == text


def test_prompts_are_distinct():
    assert len({*LONG_PROMPTS, *SHORT_PROMPTS}) == len(LONG_PROMPTS) + len(SHORT_PROMPTS)
