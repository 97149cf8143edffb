"""The engine_args of engine openai. Light, because the plan checks them before a run starts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from recaption.engine.chat_server import Key
from recaption.errors import ConfigError

_EXAMPLE = "http://127.0.0.1:8000/v1"
_SETTINGS = ("base_url", "api_key_env", "concurrency", "timeout", "attempts", "image_detail", "extra_body")
_TAKEN = {"model", "messages", "stream", "n"}  # fields of a request that recaption sets
_SECRET = re.compile(r"api[-_]?key|token|authorization|secret|password", re.IGNORECASE)
_DEFAULT_KEY = "OPENAI_API_KEY"


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenAISettings:
    """Checked engine_args. `api_key_env` is None if it is not given; `extra_body` is JSON."""

    base_url: str
    api_key_env: str | None
    concurrency: int
    timeout: float
    attempts: int
    image_detail: str | None
    extra_body: bytes

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> OpenAISettings:
        """Raises ConfigError, whose message never contains a value that may be a key."""
        if "api_key" in given:
            raise ConfigError(
                "engine_args.api_key: a pipeline must not contain a key, because it is copied into the output. Set "
                f"the environment variable {_DEFAULT_KEY} or the one that engine_args.api_key_env names"
            )
        if unknown := sorted(set(given) - set(_SETTINGS)):
            raise ConfigError(
                f"engine_args {', '.join(unknown)}: engine openai has no such setting. Allowed: {', '.join(_SETTINGS)}"
            )
        detail = given.get("image_detail")
        if detail not in (None, "auto", "low", "high"):
            raise ConfigError(f"engine_args.image_detail is {detail!r}; allowed: auto, low and high")
        return cls(
            base_url=_base_url(given.get("base_url")),
            api_key_env=_variable(given.get("api_key_env")),
            concurrency=_whole(given, "concurrency", 32),
            timeout=_seconds(given, "timeout", 120),
            attempts=_whole(given, "attempts", 6),
            image_detail=detail,
            extra_body=_extra_body(given.get("extra_body")),
        )

    def key(self) -> Key:
        """The key from the environment of this process. Raises ConfigError if `api_key_env` is not set there."""
        name = self.api_key_env or _DEFAULT_KEY
        value = os.environ.get(name)
        if self.api_key_env and not value:
            raise ConfigError(
                f"engine_args.api_key_env: the environment variable {name} is not set here. Set it where the engine "
                "runs (on a cluster, before `ray start` on each node), or leave api_key_env out for a server without "
                "a key"
            )
        return Key(value, name)

    def identity(self) -> dict[str, Any]:
        """The engine_args that change the answers, without those that concern the connection."""
        extra = orjson.loads(self.extra_body)
        return {name: value for name, value in (("image_detail", self.image_detail), ("extra_body", extra)) if value}


def _base_url(given: Any) -> str:
    if not given or not isinstance(given, str):
        raise ConfigError(f"engine openai needs engine_args.base_url, the address of a server: e.g. {_EXAMPLE}")
    try:
        parts = urlsplit(given.strip())
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        secret = parts.username is not None or parts.password is not None
    except ValueError:
        named, secret = False, "@" in given
    if secret:
        raise ConfigError(
            "engine_args.base_url contains a user name or password, which would be recorded with the dataset. Put a "
            f"key into the environment variable that engine_args.api_key_env names ({_DEFAULT_KEY})"
        )
    if not named or parts.query or parts.fragment:
        raise ConfigError(
            f"engine_args.base_url {given.split('?')[0]!r}: expected http:// or https://, a host and a path, "
            f"and no query: e.g. {_EXAMPLE}"
        )
    return given.strip().rstrip("/")


def _variable(given: Any) -> str | None:
    if given is None:
        return None
    if not (isinstance(given, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", given)):
        raise ConfigError(
            "engine_args.api_key_env is not the name of an environment variable (letters, digits and _, e.g. "
            f"{_DEFAULT_KEY}); put a key into such a variable"
        )
    return given


def _whole(given: Mapping[str, Any], name: str, default: int) -> int:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"engine_args.{name} is {value!r}: expected a whole number of at least 1")
    return value


def _seconds(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ConfigError(f"engine_args.{name} is {value!r}: expected a number of seconds above 0")
    return float(value)


def _extra_body(given: Any) -> bytes:
    if given is None:
        return b"{}"
    if not isinstance(given, dict):
        raise ConfigError(f"engine_args.extra_body is a {type(given).__name__}: expected a mapping")
    if taken := sorted(_TAKEN & set(given)):
        raise ConfigError(f"engine_args.extra_body: {', '.join(taken)} cannot be set there: recaption sets them itself")
    if secret := sorted(str(name) for name in given if _SECRET.fullmatch(str(name))):
        raise ConfigError(
            f"engine_args.extra_body: {', '.join(secret)} looks like a key, which a pipeline must not contain; "
            "engine_args.api_key_env names the environment variable that holds it"
        )
    try:
        return orjson.dumps(given)
    except TypeError as error:
        raise ConfigError(f"engine_args.extra_body cannot be sent as JSON: {error}") from error
