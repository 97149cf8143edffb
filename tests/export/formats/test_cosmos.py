"""COSMOS."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import trainers
from foreign_tars import GOOD, foreign_tar


def test_a_mode_that_divides_by_zero_is_a_warning(tmp_path: Path, problems: Any) -> None:
    body = {**GOOD, "raw_caption": []}
    folder = foreign_tar(tmp_path, body)
    with pytest.raises(ZeroDivisionError):
        trainers.cosmos(trainers.tar_samples(folder)[0], "raw", random.Random(0))
    assert problems("cosmos", folder) == {"no text for mode raw": "warning"}
    assert problems("flair", folder) == {}
