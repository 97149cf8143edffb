from __future__ import annotations

import pytest

from recaption.doctor.finding import examine


@pytest.fixture(autouse=True)
def time_for_all_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, what is not finished after eight seconds is a warning."""
    monkeypatch.setattr(examine, "__defaults__", (600.0,))
