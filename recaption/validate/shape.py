"""Whether a JSON value is what one of `schemas/*.schema.json` says: the keywords that those use, and no others.

Of JSON Schema, draft 2020-12 (json-schema.org/draft/2020-12): type, enum, pattern, minimum, maximum, minLength,
properties, required, patternProperties, additionalProperties, propertyNames, items, $ref.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

import orjson

from recaption.resources import shipped

_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


@lru_cache
def load(name: str) -> dict[str, Any]:
    """`schemas/<name>.schema.json`."""
    schema: dict[str, Any] = orjson.loads((shipped("schemas") / f"{name}.schema.json").read_bytes())
    return schema


def faults(value: Any, name: str, *, newer: bool = False) -> Iterator[tuple[str, str]]:
    """(place, what is wrong there) for everything in `value` that the schema forbids.

    `newer`: it was written by a later minor version, which may have more fields.
    """
    yield from _Checker(newer).check(value, load(name), name, "")


class _Checker:
    def __init__(self, newer: bool) -> None:
        self._newer = newer

    def check(self, value: Any, schema: dict[str, Any], document: str, at: str) -> Iterator[tuple[str, str]]:
        while "$ref" in schema:
            schema, document = _follow(schema["$ref"], document)
        kinds = schema.get("type", list(_TYPES))
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if not any(_is(value, kind) for kind in kinds):
            yield at, f"is {_shown(value)}, not {' or '.join(kinds)}"
            return
        if "enum" in schema and value not in schema["enum"]:
            yield at, f"is {_shown(value)}; allowed are {', '.join(map(_shown, schema['enum']))}"
        if isinstance(value, str):
            if "pattern" in schema and not re.search(schema["pattern"].removesuffix("$") + r"\Z", value):
                yield at, f"is {_shown(value)}, which does not match {schema['pattern']}"
            if len(value) < schema.get("minLength", 0):
                yield at, "is empty"
        elif isinstance(value, int | float) and not isinstance(value, bool):
            if value < schema.get("minimum", value) or value > schema.get("maximum", value) or value != value:
                yield at, f"is {value}; it can be {schema.get('minimum', '')} to {schema.get('maximum', 'any')}"
        elif isinstance(value, list) and "items" in schema:
            for i, item in enumerate(value):
                yield from self.check(item, schema["items"], document, f"{at}[{i}]")
        elif isinstance(value, dict):
            yield from self._object(value, schema, document, at)

    def _object(
        self, value: dict[str, Any], schema: dict[str, Any], document: str, at: str
    ) -> Iterator[tuple[str, str]]:
        for name in schema.get("required", ()):
            if name not in value:
                yield at, f"has no {name}"
        for name, item in value.items():
            below = f"{at}.{name}" if at else name
            if "propertyNames" in schema:
                yield from self.check(name, schema["propertyNames"], document, f"{at} name")
            found = schema.get("properties", {}).get(name)
            if found is None:
                patterns = schema.get("patternProperties", {})
                found = next((s for p, s in patterns.items() if re.search(p, name)), schema.get("additionalProperties"))
            if isinstance(found, dict):
                yield from self.check(item, found, document, below)
            elif found is False and not self._newer:
                yield below, "is not part of the format"


def _follow(reference: str, document: str) -> tuple[dict[str, Any], str]:
    file, _, path = reference.partition("#")
    document = file.removesuffix(".schema.json") or document
    schema = load(document)
    for part in filter(None, path.split("/")):
        schema = schema[part]
    return schema, document


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
