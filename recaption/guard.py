"""Run a rule on one caption, so that an exception costs that caption and no other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
_LONGEST = 300  # characters of an error


@dataclass(frozen=True, slots=True)
class Failed:
    """A rule raised. Keeps the words only: the exception's traceback would keep its frames in memory."""

    error: str

    @classmethod
    def of(cls, error: BaseException) -> Failed:
        """Raises `error` again when it asks the process to stop (KeyboardInterrupt, SystemExit, …)."""
        # The tokenizers library turns a panic into a PanicException, which is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise error
        name = type(error).__name__
        try:
            words = str(error)
        except Exception:  # noqa: BLE001 - the __str__ of a user's own exception
            words = ""
        words = words.encode("utf-8", "replace").decode()[:_LONGEST]
        return cls(f"{name}: {words}" if words else name)


def attempt(function: Callable[..., T], *args: object) -> T | Failed:
    """What `function` returns for these arguments, or why it failed. MemoryError and RecursionError count too."""
    try:
        return function(*args)
    except BaseException as error:  # noqa: BLE001 - whatever a rule raises
        return Failed.of(error)
