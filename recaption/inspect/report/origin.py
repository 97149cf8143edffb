"""Where the captions come from: for each generation its model, prompt and sampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from recaption.inspect.layout import Layout


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """A generation: what was asked of which model. Empty where it is not told."""

    generation: str
    kind: str
    fingerprint: str
    model: str  # its name in the pipeline
    facts: tuple[tuple[str, str], ...]  # of the model: path or id, commit, dtype, …
    prompt: str
    prompt_facts: tuple[tuple[str, str], ...]
    prompt_text: str
    sampling: tuple[tuple[str, str], ...]
    asked: int | None = None
    answered: int | None = None
    rejected: int | None = None


def of_manifest(manifest: Mapping[str, Any]) -> tuple[Asking, ...]:
    """In pipeline order, out of a build's manifest."""
    provenance = _mapping(manifest.get("provenance"))
    models, prompts = _mapping(provenance.get("models")), _mapping(provenance.get("prompts"))
    return tuple(
        _asking(generation, _mapping(models.get(str(generation.get("model")))), prompts)
        for generation in map(_mapping, manifest["generations"])
    )


def of_pipeline(layout: Layout) -> tuple[Asking, ...]:
    """Out of the run's `pipeline.yaml`; empty where that cannot be read."""
    if layout.out is None:
        return ()
    try:
        data = _mapping(yaml.safe_load((layout.out / "pipeline.yaml").read_bytes()))
    except (OSError, ValueError, yaml.YAMLError):
        return ()
    models = _mapping(data.get("models"))
    asked = data.get("generate")
    return tuple(
        _asking(generation, _mapping(models.get(str(generation.get("model")))), {})
        for generation in map(_mapping, asked if isinstance(asked, list) else ())
    )


def _asking(generation: Mapping[str, Any], model: Mapping[str, Any], prompts: Mapping[str, Any]) -> Asking:
    prompt = _mapping(prompts.get(str(generation.get("prompt"))))
    replays = generation.get("column")
    return Asking(
        generation=str(generation.get("id") or ""),
        kind=str(generation.get("kind") or ""),
        fingerprint=str(generation.get("fingerprint") or ""),
        model=str(generation.get("model") or ""),
        facts=_facts({key: value for key, value in model.items() if not isinstance(value, dict | list)}),
        prompt=str(generation.get("prompt") or (f"column {replays}" if replays else "")),
        prompt_facts=_facts({key: value for key, value in prompt.items() if key != "text"}),
        prompt_text=str(prompt.get("text") or ""),
        sampling=_facts(_mapping(generation.get("sampling"))),
        **{name: generation.get(name) for name in ("asked", "answered", "rejected")},
    )


def _facts(values: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What is set, as words."""
    return tuple(
        (key.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value))
        for key, value in values.items()
        if value not in (None, "", [], (), False)
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
