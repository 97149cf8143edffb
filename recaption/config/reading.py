"""Reads a pipeline file: presets, `--set`, and every problem of the file in one error."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from recaption import legacy, strictyaml
from recaption.config.checks import of_generations, of_names, of_output
from recaption.config.pipeline import Annotate, GenerationConfig, Model, Output, Pipeline, Source
from recaption.errors import ConfigError
from recaption.resources import find
from recaption.section import Section, explain

_S = TypeVar("_S", bound=Section)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """The valid parts of an invalid pipeline; invalid parts are None or left out."""

    source: Source | None
    models: Mapping[str, Model]
    generate: Sequence[GenerationConfig]
    annotate: Annotate | None
    output: Output | None

    @classmethod
    def of(cls, pipeline: Pipeline) -> Parts:
        return cls(
            source=pipeline.source,
            models=pipeline.models,
            generate=pipeline.generate,
            annotate=pipeline.annotate,
            output=pipeline.output,
        )


class InvalidPipeline(ConfigError):
    """An invalid pipeline file. `parts` are its valid parts; `path` is the path of the file, or None."""

    parts: Parts
    path: Path | None = None


def load(name: str, overrides: tuple[str, ...] = (), preset: str | None = None) -> tuple[Pipeline, Path]:
    """Read, override and validate a pipeline. Returns it with its file's path.

    The file's `preset` is applied first, then `overrides` (`key.path=value`, values as YAML).

    Raises ConfigError: every problem of the file in one message, each with the key, what was given and what is allowed.
    """
    path = find("pipelines", name, ".yaml")
    data = strictyaml.read(strictyaml.decoded(path.read_bytes(), str(path)), str(path))
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping with name, source, models, generate and output")
    if preset is not None:
        _apply(data, preset, str(path))
    for override in overrides:
        _set(data, override)
    try:
        return validate(data, str(path)), path
    except InvalidPipeline as error:
        error.path = path
        raise


def validate(data: dict[str, Any], where: str = "pipeline") -> Pipeline:
    """The pipeline in `data`. Raises ConfigError as `load` does."""
    data = legacy.pipeline(data)
    try:
        return Pipeline.model_validate(data)
    except ValidationError as error:
        parts = _parts(data)
        found = explain(error.errors(), Pipeline)
        if not any(line.startswith("pipeline: ") for line in found):  # pydantic skipped these checks
            ids, models = _names(data)
            if parts.generate and models:
                found += [*of_names(ids, parts.generate, models), *of_generations(parts.generate, parts.models)]
            if ids:
                checks = list(of_output(parts.output, [*ids, "raw"])) if parts.output else []
                whole = not any(line.startswith("output.") for line in found)
                found += checks if whole else [line for line in checks if not line.startswith("output.profile")]
        lines = [f"  {line}" for line in found]
        invalid = InvalidPipeline("\n".join([f"{where} is not a valid pipeline:", *lines]))
        invalid.parts = parts
        raise invalid from error


def _parts(data: dict[str, Any]) -> Parts:
    def part(kind: type[_S], value: Any, needed: frozenset[str] = frozenset()) -> _S | None:
        """The section without its invalid keys; None if one of them is `needed`, or the value is not a section."""
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            wrong = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
            if not wrong or wrong & needed or not isinstance(value, dict) or not wrong <= set(map(str, value)):
                return None
            return part(kind, {name: item for name, item in value.items() if str(name) not in wrong}, needed)

    models, generate = data.get("models"), data.get("generate")
    of_models = {str(name): part(Model, value, _NEEDED_OF_MODEL) for name, value in _items(models)}
    of_generate = (
        [part(GenerationConfig, value, _NEEDED_OF_GENERATION) for value in generate]
        if isinstance(generate, list)
        else []
    )
    return Parts(
        source=part(Source, data.get("source")),
        models={name: model for name, model in of_models.items() if model},
        generate=[generation for generation in of_generate if generation],
        annotate=part(Annotate, data.get("annotate", {})),
        output=part(Output, data.get("output")),
    )


_NEEDED_OF_MODEL = frozenset({"engine", "model", "engine_args"})
_NEEDED_OF_GENERATION = frozenset({"id", "model", "prompt", "column", "task", "over"})


def _names(data: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The ids of generations and the names of models, also of those that are not valid."""
    generate = data.get("generate")
    listed = generate if isinstance(generate, list) else []
    ids = [each["id"] for each in listed if isinstance(each, dict) and isinstance(each.get("id"), str)]
    return ids, [str(name) for name, _ in _items(data.get("models"))]


def _items(value: Any) -> list[tuple[Any, Any]]:
    return [item for item in value.items() if not str(item[0]).startswith("x-")] if isinstance(value, dict) else []


def _apply(data: dict[str, Any], preset: str, where: str) -> None:
    """Set the values of a preset, in the order of the file. `validate` reports presets that are not mappings."""
    presets = dict(_items(data.get("presets")))
    if preset not in presets:
        raise ConfigError(f"{where} has no preset {preset!r}; its presets are: {', '.join(presets) or 'none'}")
    for keys, value in _items(presets[preset]):
        _assign(data, keys, copy.deepcopy(value), f"preset {preset}, {keys!r}")


def _set(data: dict[str, Any], override: str) -> None:
    keys, equals, text = override.partition("=")
    if not equals or not keys:
        raise ConfigError(f"--set {override!r}: expected key.path=value, e.g. output.path=out/demo")
    _assign(data, keys, _value(text.strip(), f"--set {override!r}"), f"--set {override!r}")


def _assign(data: dict[str, Any], keys: str, value: Any, where: str) -> None:
    """Set one value. `keys` is its path; numbers in it select entries of lists."""
    parents = keys.split(".")
    node: Any = data
    for depth, part in enumerate(parents):
        index = int(part) if isinstance(node, list) and part.isdecimal() else part
        try:
            if depth == len(parents) - 1:
                node[index] = value
            else:
                if isinstance(node, dict):
                    node.setdefault(index, {})
                node = node[index]
        except (TypeError, IndexError, KeyError) as error:
            within = ".".join(parents[:depth]) or "the pipeline"
            if isinstance(node, list):
                what = f"a list of {len(node)}; give a position from 0 to {len(node) - 1}" if node else "an empty list"
            else:
                what = "not a mapping"
            raise ConfigError(f"{where}: {part!r} cannot be set, because {within} is {what}") from error


def _value(text: str, where: str) -> Any:
    """A value of --set: YAML for a list, a mapping or a quoted text, otherwise a plain scalar."""
    if text[:1] not in ("[", "{", '"', "'"):
        return strictyaml.scalar(text)
    try:
        return strictyaml.read(text, where, whole=True)
    except ConfigError as error:
        if text[0] in "[{" and "is not YAML" in str(error):
            raise ConfigError(f"{error}. Quote a text that begins with {text[0]}: \"'{text}'\"") from error
        raise
