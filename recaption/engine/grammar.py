"""The keywords of JSON Schema that xgrammar enforces. Engine vllm uses xgrammar for answers with a schema.

xgrammar accepts many other keywords and ignores them, so an answer may break them. The list was measured with xgrammar
0.2.8: for each keyword, whether the grammar of a schema accepts a value that the schema forbids
(tests/engine/test_grammar.py measures it again). vLLM refuses some more (vllm/v1/structured_output/backend_xgrammar.py,
`has_xgrammar_unsupported_json_features`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

_NOTES: Final = frozenset(
    ("$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "deprecated")
)
_OF_TYPE: Final[Mapping[str, frozenset[str]]] = {
    "object": frozenset({"properties", "required", "additionalProperties", "minProperties", "maxProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems"}),
    "string": frozenset({"minLength", "maxLength", "pattern", "format"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "integer": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}),
    "boolean": frozenset(),
    "null": frozenset(),
}
_ALONE: Final = ("$ref", "anyOf", "enum", "const")  # other constraints beside them are ignored
_CONSTRAINTS: Final = frozenset[str]().union(*_OF_TYPE.values())
_FORMATS: Final = frozenset(
    (
        *("email", "date", "time", "date-time", "duration", "ipv4", "ipv6", "hostname", "uuid"),
        *("uri", "uri-reference", "uri-template", "json-pointer", "relative-json-pointer"),
    )
)
_JSON_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "boolean": bool,
    "null": type(None),
}


def unsupported(schema: bytes) -> str | None:
    """The first part of a JSON schema that the grammar does not enforce, with its place; None if it enforces all."""
    return next(_faults(orjson.loads(schema), "#"), None)


def _faults(schema: Any, where: str) -> Iterator[str]:
    if isinstance(schema, bool):
        if not schema:
            yield f"{where}: false, which allows no value"
        return
    yield from _keyword_faults(schema, where)
    for name in ("properties", "$defs", "definitions"):
        for key, below in schema.get(name, {}).items():
            yield from _faults(below, f"{where}/{name}/{key}")
    for name in ("anyOf", "prefixItems"):
        for number, below in enumerate(schema.get(name, ())):
            yield from _faults(below, f"{where}/{name}/{number}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from _faults(schema[name], f"{where}/{name}")


def _keyword_faults(schema: Mapping[str, Any], where: str) -> Iterator[str]:
    constraints = [name for name in schema if name not in _NOTES and name != "type"]
    for name in constraints:
        if name not in _CONSTRAINTS and name not in _ALONE:
            hint = "; use anyOf" if name == "oneOf" else ""
            yield f"{where}/{name}: keyword {name} has no effect on a grammar{hint}"
    given = schema.get("type", ())
    types = [given] if isinstance(given, str) else list(given)
    alone = [name for name in constraints if name in _ALONE]
    if alone:
        others = [name for name in constraints if name != alone[0]]
        values = schema.get("enum", [schema["const"]] if "const" in schema else None)
        if types and (values is None or not all(_is_of(value, types) for value in values)):
            others.append("type")
        if others:
            yield f"{where}/{others[0]}: keyword {others[0]} has no effect beside {alone[0]}"
        if "$ref" in schema and not str(schema["$ref"]).startswith("#"):
            yield f"{where}/$ref: {schema['$ref']!r}; only references that begin with # are followed"
        return
    for name in constraints:
        if name in _CONSTRAINTS and not any(name in _OF_TYPE.get(kind, ()) for kind in types):
            needed = " or ".join(kind for kind, names in _OF_TYPE.items() if name in names)
            yield f"{where}/{name}: keyword {name} has an effect only with type {needed}"
    if ("pattern" in schema or "format" in schema) and ("minLength" in schema or "maxLength" in schema):
        yield f"{where}/pattern: keywords pattern and format have no effect beside minLength and maxLength"
    if "pattern" in schema and "format" in schema:
        yield f"{where}/format: keyword format has no effect beside pattern"
    if schema.get("format", "date") not in _FORMATS:
        yield f"{where}/format: unknown format {schema['format']!r}"


def _is_of(value: Any, types: list[str]) -> bool:
    if isinstance(value, bool):  # a subclass of int
        return "boolean" in types
    return any(isinstance(value, _JSON_TYPES[kind]) for kind in types if kind != "boolean")
