"""Policies that can be sent to worker processes: the arguments that made a policy are pickled, not its closure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec

import numpy as np

from recaption.load.policy.drawn import Drawn, Policy
from recaption.types import Record

_P = ParamSpec("_P")


def portable(make: Callable[_P, Policy]) -> Callable[_P, Policy]:
    """Lets DataLoader start workers by spawn or forkserver, the default from Python 3.14 on."""

    @wraps(make)
    def made(*args: _P.args, **kwargs: _P.kwargs) -> Policy:
        return _Portable(make(*args, **kwargs), made, args, kwargs)

    return made


class _Portable:
    __slots__ = ("_args", "_draw", "_kwargs", "_make")

    def __init__(
        self, draw: Policy, make: Callable[..., Policy], args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> None:
        self._draw, self._make, self._args, self._kwargs = draw, make, args, kwargs

    def __call__(self, record: Record, rng: np.random.Generator, step: int) -> list[Drawn]:
        return self._draw(record, rng, step)

    def __repr__(self) -> str:
        given = [repr(arg) for arg in self._args] + [f"{name}={value!r}" for name, value in self._kwargs.items()]
        return f"{self._make.__name__}({', '.join(given)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_again, (self._make, self._args, dict(self._kwargs))


def _make_again(make: Callable[..., Policy], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Policy:
    return make(*args, **kwargs)
