"""The settings of a probe, and sampling policies as a command line gives them."""

from __future__ import annotations

import hashlib
import inspect
import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from recaption.errors import UserError
from recaption.load import policy
from recaption.load.policy import Policy

POLICIES: Final = ("weighted", "flair", "dreamlip", "cosmos", "lotlip", "recap_mix", "shear", "long", "short", "raw")

VERSION: Final = 1
"""Version of the model and its training. Runs of another version are not continued."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How each run trains. The defaults are those of the demo's scenes."""

    seen: int = 32_768  # images seen
    batch: int = 64
    rate: float = 2e-3  # peak learning rate; warm-up over the first tenth, then a cosine to zero
    width: int = 128  # of the shared space
    buckets: int = 1 << 13  # of the table of words and pairs of words
    context: int = 32  # words of a text that are read
    share: float = 0.8  # of the images, drawn anew for each seed

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value <= 0:
                raise UserError(f"{name} is {value}; it must be above 0")

    @property
    def steps(self) -> int:
        return max(1, self.seen // self.batch)


def identity(**parts: Any) -> str:
    """A hash of everything that the numbers of a run depend on; parts are JSON values."""
    return hashlib.sha256(json.dumps({"version": VERSION} | parts, sort_keys=True).encode()).hexdigest()


def parse_policy(text: str) -> Policy:
    """`weighted:k=4,p_raw=0.1` as a policy of `recaption.load.policy`. Raises UserError."""
    name, _, rest = text.partition(":")
    if name not in POLICIES:
        raise UserError(f"--policy {text}: {name!r} is not a policy; allowed: {', '.join(POLICIES)}")
    make = getattr(policy, name)
    given: dict[str, Any] = {}
    allowed = {key: one.annotation for key, one in inspect.signature(make).parameters.items()}
    for pair in filter(None, rest.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or key not in allowed:
            raise UserError(f"--policy {text}: {pair!r} is not KEY=VALUE with a key of {', '.join(allowed)}")
        given[key] = _value(text, value)
    try:
        made: Policy = make(**given)
    except (TypeError, ValueError) as error:
        raise UserError(f"--policy {text}: {error}") from error
    return made


def _value(text: str, value: str) -> int | float | bool:
    if value in ("true", "false"):
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    raise UserError(f"--policy {text}: {value!r} is not a number, true or false")
