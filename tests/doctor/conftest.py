from __future__ import annotations

import pytest

from recaption.doctor import pipeline
from recaption.doctor.finding import examine


@pytest.fixture(autouse=True)
def time_for_all_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, what is not finished after eight seconds is a warning, and shards are listed for three."""
    monkeypatch.setattr(examine, "__defaults__", (600.0,))
    monkeypatch.setattr(pipeline, "_LISTING", 600.0)
