"""Engines: the models that answer. `base` is the protocol; `build` makes one by name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace

from recaption.engine.base import Completion, Engine, EngineSpec, ImageLimits, Rendered, Request
from recaption.errors import ConfigError, MissingExtra
from recaption.models import on_this_node

ENGINES = ("vllm", "transformers", "openai")
"""Engines with a model behind them. `column` needs none: its answers come from the index (see `engine.column`)."""


def check(engine: str) -> None:
    """Raises MissingExtra or ConfigError when an engine of that name could not be built here; loads nothing heavy."""
    needs = {"vllm": ("vllm", "vllm"), "transformers": ("torch", "transformers"), "openai": ("aiohttp", "run")}
    if engine in needs:
        package, extra = needs[engine]
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, extra)
    elif ":" in engine:
        _imported(engine)
    elif engine != "column":
        raise _unknown(engine)


def build(spec: EngineSpec) -> Engine:
    """The engine named by `spec.engine`, not started; call it where the engine is to run.

    A model that is named is found on this machine, or fetched (`models.on_this_node`). Raises ConfigError for an
    unknown engine and a model that cannot be had here, EngineDead for one that cannot be had now.
    """
    if spec.engine not in ENGINES and ":" not in spec.engine:
        raise _unknown(spec.engine)
    if spec.engine != "openai":  # whose server has the model
        spec = replace(spec, model=on_this_node(spec.model, spec.revision), revision=None)
    if spec.engine == "vllm":
        from recaption.engine.vllm import VllmEngine

        return VllmEngine(spec)
    if spec.engine == "transformers":
        from recaption.engine.transformers import TransformersEngine

        return TransformersEngine(spec)
    if spec.engine == "openai":
        from recaption.engine.openai import OpenAIEngine

        return OpenAIEngine(spec)
    engine: Engine = _imported(spec.engine)(spec)
    return engine


def check_reachable(spec: EngineSpec) -> None:
    """Raises EngineDead, within seconds, when no server listens at the address of the server that is to answer.

    Call it where engines run: an address such as 127.0.0.1 is another one on another machine.
    """
    if spec.engine == "openai":
        from recaption.engine.openai_settings import OpenAISettings
        from recaption.engine.reach import check_listening

        check_listening(OpenAISettings.of(dict(spec.engine_args)).base_url)


def _imported(name: str) -> Callable[[EngineSpec], Engine]:
    module, _, attribute = name.partition(":")
    try:
        made: Callable[[EngineSpec], Engine] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"engine {name!r} cannot be imported: {error}") from error
    return made


def _unknown(name: str) -> ConfigError:
    return ConfigError(f"unknown engine {name!r}: allowed are {', '.join(ENGINES)}, column and package.module:Class")


__all__ = ["ENGINES", "Completion", "Engine", "EngineSpec", "ImageLimits", "Rendered", "Request", "build", "check"]
