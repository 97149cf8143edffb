"""Where the captions come from: for each generation its model, prompt and sampling."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from recaption.inspect.layout import Layout
from recaption.output.paths import PIPELINE

_SUM = re.compile("(sha256:)?[0-9a-f]{64}")
_DIGITS = 24


@dataclass(frozen=True, kw_only=True, slots=True)
class Asking:
    """A generation: what was asked of which model. Empty where it is not told."""

    generation: str
    kind: str
    fingerprint: str
    facts: tuple[tuple[str, str], ...]  # name and value: of the model, the prompt, the sampling
    prompt_text: str


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
        data = _mapping(yaml.safe_load((layout.out / PIPELINE).read_bytes()))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return ()
    models = _mapping(data.get("models"))
    asked = data.get("generate")
    return tuple(
        _asking(generation, _mapping(models.get(str(generation.get("model")))), {})
        for generation in map(_mapping, asked if isinstance(asked, list) else ())
    )


def _asking(generation: Mapping[str, Any], model: Mapping[str, Any], prompts: Mapping[str, Any]) -> Asking:
    prompt = _mapping(prompts.get(str(generation.get("prompt"))))
    name = str(generation.get("model") or "")
    facts = {"model": model.get("model") or name, "named": name if name != (model.get("model") or name) else None}
    facts |= {key: value for key, value in model.items() if key not in ("model", "source")}
    facts |= {"prompt": generation.get("prompt"), "column": generation.get("column")}
    facts |= {f"prompt {key}": value for key, value in prompt.items() if key != "text"}
    facts |= _mapping(generation.get("sampling"))
    return Asking(
        generation=str(generation.get("id") or ""),
        kind=str(generation.get("kind") or ""),
        fingerprint=str(generation.get("fingerprint") or ""),
        facts=tuple(_facts({**facts, "fingerprint": generation.get("fingerprint")})),
        prompt_text=str(prompt.get("text") or ""),
    )


def _facts(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What is set, in words; of a checksum the first digits."""
    for key, value in values.items():
        if value is None or value is False or value in ("", [], ()) or isinstance(value, dict):
            continue
        words = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        yield key.replace("_", " "), f"{words[:_DIGITS]}…" if _SUM.fullmatch(words) else words


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
