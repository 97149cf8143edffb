"""Runs a rule on one caption, so that an exception affects only that caption."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
_LONGEST = 300  # characters of an error


@dataclass(frozen=True, slots=True)
class Failed:
    """A rule has raised. Only the message is kept: the exception's traceback would keep its frames in memory."""

    error: str

    @classmethod
    def of(cls, error: BaseException) -> Failed:
        """Raises `error` itself if it ends the process (KeyboardInterrupt, SystemExit, …)."""
        # The tokenizers library turns a panic into a PanicException, which is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise error
        name = type(error).__name__
        try:
            message = str(error)
        except Exception:  # noqa: BLE001 - the __str__ of a user's own exception
            message = ""
        message = message.encode("utf-8", "replace").decode()[:_LONGEST]
        return cls(f"{name}: {message}" if message else name)


def attempt(function: Callable[..., T], *args: object) -> T | Failed:
    """The result of `function` with these arguments, or why it failed, MemoryError and RecursionError included."""
    try:
        return function(*args)
    except BaseException as error:  # noqa: BLE001 - any exception of a rule
        return Failed.of(error)
