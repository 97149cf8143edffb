"""What all parts of a pipeline file and a prompt's front matter share: strict keys, strict values, and messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from recaption.strictyaml import Surprise


class Section(BaseModel):
    """A mapping whose keys are all known. Keys beginning with `x-` are left out: they hold anchors."""

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
            meant = field is not None and field.annotation in (bool, dict[str, Any])
            kept[name] = value if meant else _no_boolean(value)
        return kept


def _no_boolean(value: Any) -> Any:
    """A boolean is no number and no text."""
    if isinstance(value, bool):
        return Surprise(str(value).lower(), value)
    return [_no_boolean(item) for item in value] if isinstance(value, list) else value


def meant(value: Any) -> Any:
    """What YAML reads, for fields that take just that: booleans and dates."""
    return value.value if isinstance(value, Surprise) else value


def free(value: Any) -> Any:
    """Values of any kind, as they are. Raises ValueError for one that YAML reads as something else than is written."""
    for path, item in _leaves(value):
        if isinstance(item, Surprise):
            raise ValueError(f"{path or 'it'} is {item}; else write what it is read as")
    return value


def one_or_more(value: Any) -> Any:
    """A text in place of a list of one."""
    return [value] if isinstance(value, str) else value


Meant = BeforeValidator(meant)
Free = BeforeValidator(free)
OneOrMore = BeforeValidator(one_or_more)


def _leaves(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [leaf for name, item in value.items() for leaf in _leaves(item, f"{path}.{name}".strip("."))]
    if isinstance(value, list):
        return [leaf for n, item in enumerate(value) for leaf in _leaves(item, f"{path}.{n}".strip("."))]
    return [(path, value)]


def explain(errors: Sequence[Any], section: Callable[[tuple[Any, ...]], type[Section] | None]) -> list[str]:
    """A line per problem. pydantic's messages about the branches of a union are joined into one line."""
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
            owner = section(loc[:-1])
            text = "unknown key" + (f"; allowed here: {', '.join(owner.model_fields)}" if owner else "")
        elif isinstance(given, Surprise):
            text += f" (given: {given})"
        elif error["type"] not in ("missing", "value_error") and not isinstance(given, dict | list):
            text += f" (given: {given!r})"
            if error["type"] == "string_type" and isinstance(given, int | float):
                text += f'; put it in quotes: "{given}"'
        lines.setdefault(where, []).append(text)
    found = []
    for where, texts in lines.items():
        first, *others = ", or ".join(dict.fromkeys(texts)).split("\n")  # a check of a whole: a line each
        found += [f"{where}: {first}", *(f"{where}: {other}" for other in others)]
    return found


def _is_branch(part: Any) -> bool:
    return isinstance(part, str) and (part.startswith(("literal[", "constrained-", "function-")) or part == "int")
