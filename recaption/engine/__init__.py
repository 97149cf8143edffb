"""Engines run the models. `base` has the protocol; `build` makes an engine by its name."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import replace

from recaption.engine.base import Completion, Engine, EngineSpec, ImageLimits, Rendered, Request
from recaption.engine.capabilities import capabilities, check_capable
from recaption.errors import ConfigError, MissingExtra
from recaption.models import on_this_node

ENGINES = ("vllm", "transformers", "openai", "dual_encoder", "detector")
"""Engines of a pipeline that run a model. `column` runs none: its answers are in the index (see `engine.column`)."""


def check(engine: str) -> None:
    """Raises MissingExtra or ConfigError if an engine of that name cannot be built here. Imports no heavy package."""
    needs = {
        "vllm": ("vllm", "vllm"),
        "transformers": ("torch", "transformers"),
        "dual_encoder": ("torch", "transformers"),
        "detector": ("torch", "transformers"),
        "openai": ("aiohttp", "run"),
    }
    if engine in needs:
        package, extra = needs[engine]
        if importlib.util.find_spec(package) is None:
            raise MissingExtra(package, extra)
    elif ":" in engine:
        _imported(engine, Exception)  # a user's module may raise anything
    elif engine != "column":
        raise _unknown(engine)


def build(spec: EngineSpec) -> Engine:
    """The engine `spec.engine`, not started. Call it on the machine that runs the engine.

    The model is found on this machine or downloaded (`models.on_this_node`). Raises ConfigError for an unknown engine
    or model, EngineDead for a model that cannot be downloaded now.
    """
    if spec.engine not in ENGINES and ":" not in spec.engine:
        raise _unknown(spec.engine)
    if spec.engine != "openai":  # its server has the model
        spec = replace(spec, model=on_this_node(spec.model, spec.revision), revision=None)
    if spec.engine == "vllm":
        from recaption.engine.vllm import VllmEngine

        return VllmEngine(spec)
    if spec.engine == "transformers":
        from recaption.engine.transformers import TransformersEngine

        return TransformersEngine(spec)
    if spec.engine == "dual_encoder":
        from recaption.engine.dual_encoder import DualEncoderEngine

        return DualEncoderEngine(spec)
    if spec.engine == "detector":
        from recaption.engine.detector import DetectorEngine

        return DetectorEngine(spec)
    if spec.engine == "openai":
        from recaption.engine.openai import OpenAIEngine

        return OpenAIEngine(spec)
    engine: Engine = _imported(spec.engine)(spec)
    return engine


def check_reachable(spec: EngineSpec) -> None:
    """Raises EngineDead within seconds if no server listens at the address of engine openai.

    Call it on a machine that runs engines: 127.0.0.1 is a different server on each machine.
    """
    if spec.engine == "openai":
        from recaption.engine.chat_server import check_listening
        from recaption.engine.openai_settings import OpenAISettings

        check_listening(OpenAISettings.of(dict(spec.engine_args)).base_url)


def _imported(
    name: str, faults: type[Exception] | tuple[type[Exception], ...] = (ImportError, AttributeError, SyntaxError)
) -> Callable[[EngineSpec], Engine]:
    """Raises ConfigError for `faults`. Others are not caught: on an engine's machine, the machine may cause them."""
    module, _, attribute = name.partition(":")
    try:
        made: Callable[[EngineSpec], Engine] = getattr(importlib.import_module(module), attribute)
    except faults as error:
        raise ConfigError(f"engine {name!r} cannot be imported: {type(error).__name__}: {error}") from error
    return made


def _unknown(name: str) -> ConfigError:
    return ConfigError(f"unknown engine {name!r}; allowed: {', '.join(ENGINES)}, column and package.module:Class")


__all__ = [
    "ENGINES",
    "Completion",
    "Engine",
    "EngineSpec",
    "ImageLimits",
    "Rendered",
    "Request",
    "build",
    "capabilities",
    "check",
    "check_capable",
]
