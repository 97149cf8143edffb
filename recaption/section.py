"""The base of all sections of a pipeline file and of a prompt's front matter: strict keys and values, and messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from recaption.strictyaml import Ambiguous


class Section(BaseModel):
    """A mapping whose keys are all known. Keys that begin with `x-` are ignored; they may have anchors."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        protected_namespaces=(),
        json_schema_extra={"patternProperties": {"^x-": {}}},
    )

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        kept = {}
        for name, value in data.items():
            if isinstance(name, str) and name.startswith("x-"):
                continue
            field = cls.model_fields.get(name)
            any_type = field is not None and field.annotation in (bool, dict[str, Any])
            kept[name] = value if any_type else _no_boolean(value)
        return kept


def _no_boolean(value: Any) -> Any:
    """Reject booleans as numbers and texts."""
    if isinstance(value, bool):
        return Ambiguous(str(value).lower(), value)
    return [_no_boolean(item) for item in value] if isinstance(value, list) else value


def free(value: Any) -> Any:
    """Values of any type. Raises ValueError for an ambiguous one."""
    for path, item in _leaves(value):
        if isinstance(item, Ambiguous):
            raise ValueError(f"{path or 'it'} is {item}; otherwise write the value that YAML reads")
    return value


Free = BeforeValidator(free)
AsYaml = BeforeValidator(lambda value: value.value if isinstance(value, Ambiguous) else value)
"""The value that YAML reads, for fields whose values are booleans or dates."""
OneOrMore = BeforeValidator(lambda value: [value] if isinstance(value, str) else value)
"""A text instead of a list with one text."""


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for name, item in value.items() for leaf in _leaves(item, f"{path}.{name}".strip("."))]
    if isinstance(value, list):
        return [leaf for n, item in enumerate(value) for leaf in _leaves(item, f"{path}.{n}".strip("."))]
    return [(path, value)]


def explain(errors: Sequence[Any], root: type[Section]) -> list[str]:
    """One line per problem of a `root`. pydantic's messages about the branches of a union are joined."""
    lines: dict[str, list[str]] = {}
    for error in errors:
        below = [other["loc"] for other in errors if len(other["loc"]) > len(error["loc"])]
        if error["type"] == "too_short" and any(loc[: len(error["loc"])] == error["loc"] for loc in below):
            continue  # an item exists but is invalid: the other line describes it
        loc = tuple(part for part in error["loc"] if not _is_branch(part))
        where = ".".join(str(part) for part in loc) or "pipeline"
        text = str(error["msg"]).removeprefix("Value error, ")
        given = error["input"]
        if error["type"] == "extra_forbidden":
            text = f"unknown key; allowed here: {', '.join(_section(root, loc[:-1]).model_fields)}"
        elif isinstance(given, Ambiguous):
            text += f" (given: {given})"
        elif error["type"] not in ("missing", "value_error") and not isinstance(given, dict | list):
            text += f" (given: {given!r})"
            if error["type"] == "string_type" and isinstance(given, int | float):
                text += f'; put it in quotes: "{given}"'
        lines.setdefault(where, []).append(text)
    found = []
    for where, texts in lines.items():
        first, *others = ", or ".join(dict.fromkeys(texts)).split("\n")  # a check of the whole pipeline: one line each
        found += [f"{where}: {first}", *(f"{where}: {other}" for other in others)]
    return found


def _section(root: type[Section], loc: Sequence[Any]) -> type[Section]:
    """The section at a location below `root`. Positions in lists and names in mappings select no other section."""
    for part in loc:
        if field := root.model_fields.get(str(part)):
            root = next(_sections(field.annotation), root)
    return root


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def _is_branch(part: Any) -> bool:
    return isinstance(part, str) and (part.startswith(("literal[", "constrained-", "function-")) or part == "int")
