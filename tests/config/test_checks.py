"""Checks across the sections of a pipeline."""

from __future__ import annotations

import copy

import pytest
from small_pipeline import GOOD, changed

from recaption import config
from recaption.errors import ConfigError


def test_engine_column_needs_a_column_and_no_prompt() -> None:
    data = changed("models.m", {"engine": "column"})
    with pytest.raises(ConfigError, match="needs `column`"):
        config.validate(data)
    data["generate"] = [{"id": "long", "model": "m", "column": "recap"}]
    assert config.validate(data).generate[0].column == "recap"


def test_engine_column_reads_no_other_generations() -> None:
    data = copy.deepcopy(GOOD)
    data["models"] |= {"c": {"engine": "column"}}  # type: ignore[operator]
    data["generate"] += [{"id": "b", "model": "c", "column": "x", "over": "long"}]  # type: ignore[operator]
    with pytest.raises(ConfigError, match="generate b: engine column reads no other generations; remove `over`"):
        config.validate(data)
