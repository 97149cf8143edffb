"""Errors that are kept as text."""

from __future__ import annotations

from recaption.guard import Failed, attempt


def test_an_error_is_kept_as_bounded_storable_text() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert attempt(int, "7") == 7
    assert attempt(int, "x") == Failed("ValueError: invalid literal for int() with base 10: 'x'")
    assert Failed.of(Odd()) == Failed("Odd")
    assert Failed.of(ValueError("\ud83d")) == Failed("ValueError: ?")
    assert len(Failed.of(ValueError("x" * 10_000)).error) < 400
