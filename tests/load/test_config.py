"""The settings of a dataset: checked when they are made, given as a value, as keywords, or as both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recaption.errors import UserError
from recaption.load import CaptionDataset, LoaderConfig

WRONG = {"split": "test", "drop_last": "no", "output": "int8", "on_error": "log", "verify": "md5", "batch_size": 0}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_refused_before_a_dataset_is_opened(name: str) -> None:
    settings: dict[str, Any] = {"batch_size": 1, name: WRONG[name]}
    with pytest.raises(UserError, match=f"{name} is {WRONG[name]!r}; it (can|has to) be"):
        LoaderConfig(**settings)
    with pytest.raises(UserError, match=f"{name} is"):
        CaptionDataset("does not exist", **settings)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(TypeError, match="batchsize"):
        CaptionDataset("does not exist", batchsize=4)


def test_a_config_and_keywords_give_the_same_batches(built: Callable[[str], Path]) -> None:
    out = built("webdataset")
    config = LoaderConfig(batch_size=4, seed=3)
    third, fourth = (CaptionDataset(out, batch_size=4, seed=seed).batch(5)["index"] for seed in (3, 4))
    assert not torch.equal(third, fourth)
    assert torch.equal(CaptionDataset(out, config).batch(5)["index"], third)
    assert torch.equal(CaptionDataset(out, config, seed=4).batch(5)["index"], fourth)


def test_lanes_that_do_not_fit_are_refused(built: Callable[[str], Path]) -> None:
    with pytest.raises(UserError, match="lanes is -1; it has to be 0, or a divisor"):
        LoaderConfig(batch_size=4, lanes=-1)
    with pytest.raises(UserError, match="lanes is 1, and block is 0, which shuffles everything"):
        LoaderConfig(batch_size=4, lanes=1, block=0)
    with pytest.raises(UserError, match="lanes is 3; it has to divide batch_size x world_size, which is 4"):
        CaptionDataset(built("webdataset"), batch_size=4, lanes=3)


def test_a_state_of_other_lanes_is_refused(built: Callable[[str], Path]) -> None:
    state = CaptionDataset(built("webdataset"), batch_size=4, lanes=2).state_dict()
    CaptionDataset(built("webdataset"), batch_size=2, lanes=2, rank=1, world_size=2).load_state_dict(state)
    with pytest.raises(UserError, match="saved with lanes 2, and this dataset has 4"):
        CaptionDataset(built("webdataset"), batch_size=4, lanes=4).load_state_dict(state)
    earlier = CaptionDataset(built("webdataset"), batch_size=4).state_dict()
    del earlier["lanes"]  # as in states of earlier versions
    CaptionDataset(built("webdataset"), batch_size=4).load_state_dict(earlier)
