"""Repeating a call that failed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from recaption.io import retrying
from recaption.io.retrying import retried


class Failing:
    """Raises the errors in order, then returns "done"."""

    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls = list(errors), 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def run(call: Failing, attempts: int = 4) -> str:
    return retried(
        call,
        attempts=attempts,
        first_wait=1.0,
        is_transient=lambda error: isinstance(error, OSError),
        failure=lambda error, tries: RuntimeError(f"failed{tries}: {error}"),
        expected=(KeyError,),
    )


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(retrying, "time", SimpleNamespace(sleep=waited.append))
    return waited


def test_pauses_double_and_vary_up_to_a_limit(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "LONGEST_WAIT", 3.0)
    assert run(Failing(OSError(), OSError(), OSError())) == "done"
    for pause, most in zip(pauses, (1.0, 2.0, 3.0), strict=True):
        assert most / 2 <= pause <= most


def test_the_last_error_is_replaced(pauses: list[float]) -> None:
    with pytest.raises(RuntimeError, match="failed after 2 tries: second") as caught:
        run(Failing(OSError("first"), OSError("second")), attempts=2)
    assert isinstance(caught.value.__cause__, OSError) and len(pauses) == 1


def test_a_permanent_error_ends_the_attempts(pauses: list[float]) -> None:
    with pytest.raises(RuntimeError, match="failed: no"):
        run(Failing(ValueError("no")))
    assert pauses == []


def test_an_expected_error_passes_through(pauses: list[float]) -> None:
    call = Failing(OSError(), KeyError("x"))
    with pytest.raises(KeyError):
        run(call)
    assert call.calls == 2
