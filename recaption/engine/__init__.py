"""Engines: the models that answer. `base` is the protocol; `build` makes one by name."""

from __future__ import annotations

import importlib

from recaption.engine.base import Completion, Engine, EngineSpec, ImageLimits, Rendered, Request
from recaption.errors import ConfigError

ENGINES = ("vllm", "transformers")
"""Engines with a model behind them. `replay` needs none: it is answered from the index (see `engine.replay`)."""


def build(spec: EngineSpec) -> Engine:
    """The engine named by `spec.engine`, not started. Raises ConfigError for an unknown name."""
    if spec.engine == "vllm":
        from recaption.engine.vllm import VllmEngine

        return VllmEngine(spec)
    if spec.engine == "transformers":
        from recaption.engine.transformers import TransformersEngine

        return TransformersEngine(spec)
    if ":" in spec.engine:
        module, _, name = spec.engine.partition(":")
        try:
            engine: Engine = getattr(importlib.import_module(module), name)(spec)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"engine {spec.engine!r} cannot be imported: {error}") from error
        return engine
    raise ConfigError(
        f"unknown engine {spec.engine!r}: allowed are {', '.join(ENGINES)}, replay and package.module:Class"
    )


__all__ = ["ENGINES", "Completion", "Engine", "EngineSpec", "ImageLimits", "Rendered", "Request", "build"]
