"""recaption.engine.grammar, compared with xgrammar itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from recaption.engine.grammar import unsupported

INTEGERS = {"type": "array", "items": {"type": "integer"}}
A = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
AB = {**A, "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}
X = {"$defs": {"x": {"type": "integer"}}}

# a schema, and a value that it forbids
HELD: list[tuple[dict[str, Any], Any]] = [
    ({"enum": ["a", 1, None]}, "b"),
    ({"type": "string", "enum": ["a"], "description": "a letter"}, "b"),
    ({"const": 1}, 2),
    ({"type": ["integer", "null"], "minimum": 3}, 2),
    ({"type": "integer", "exclusiveMaximum": 3}, 3),
    ({"type": "number", "minimum": 3}, 2.5),
    ({"type": "string", "minLength": 2}, "a"),
    ({"type": "string", "maxLength": 2}, "abc"),
    ({"type": "string", "pattern": "^a+$"}, "b"),
    ({"type": "string", "format": "date"}, "b"),
    ({**INTEGERS, "minItems": 1}, []),
    ({**INTEGERS, "maxItems": 1}, [1, 2]),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False}, ["a"]),
    ({**A, "required": ["a"]}, {}),
    (A, {"b": 1}),
    ({**AB, "maxProperties": 1}, {"a": 1, "b": 1}),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "x"),
    ({**X, "$ref": "#/$defs/x"}, "x"),
]
# and the keyword that is named
REFUSED: list[tuple[dict[str, Any], Any, str]] = [
    ({**INTEGERS, "uniqueItems": True}, [1, 1], "#/uniqueItems: keyword uniqueItems has no effect"),
    ({**INTEGERS, "contains": {"const": 1}}, [2], "keyword contains"),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, 1, "keyword oneOf has no effect on a grammar; use anyOf"),
    ({"allOf": [{"type": "string"}, {"enum": ["a"]}]}, "x", "keyword allOf"),
    ({"not": {"type": "integer"}}, 1, "keyword not"),
    ({"type": "integer", "if": {"minimum": 3}, "then": {"maximum": 5}}, 7, "keyword if"),
    ({**AB, "dependentRequired": {"a": ["b"]}}, {"a": 1}, "keyword dependentRequired"),
    ({"type": "string", "enum": ["a", 1]}, 1, "keyword type has no effect beside enum"),
    ({"minimum": 3}, 2, "keyword minimum has an effect only with type number or integer"),
    ({"maxLength": 1}, "abc", "keyword maxLength has an effect only with type string"),
    ({"type": "integer", "anyOf": [{"maximum": 9}, {"const": 20}]}, 12, "keyword type has no effect beside anyOf"),
    ({**X, "$ref": "#/$defs/x", "minimum": 3}, 1, "keyword minimum has no effect beside \\$ref"),
    (
        {"type": "string", "pattern": "^a+$", "maxLength": 2},
        "aaa",
        "pattern and format have no effect beside minLength",
    ),
    (
        {"type": "object", "properties": {"a": {"anyOf": [{**INTEGERS, "uniqueItems": True}]}}, "required": ["a"]},
        {"a": [1, 1]},
        "#/properties/a/anyOf/0/uniqueItems",
    ),
]
# not tried out: xgrammar or vLLM raises, or honours some combinations only
RAISED: list[tuple[dict[str, Any], str]] = [
    ({"type": "integer", "multipleOf": 2}, "keyword multipleOf"),
    ({"type": "object", "patternProperties": {"^a": {}}}, "keyword patternProperties"),
    ({"type": "string", "format": "colour"}, "unknown format 'colour'"),
    ({"$ref": "https://example.com/x"}, "only references that begin with #"),
    ({"type": "object", "properties": {"a": False}}, "#/properties/a: false"),
]


def held(schema: dict[str, Any], value: Any) -> bool:
    """Whether xgrammar's grammar refuses a value."""
    xgrammar = pytest.importorskip("xgrammar")
    from xgrammar.testing import _is_grammar_accept_string

    text = json.dumps(schema)
    grammar = xgrammar.Grammar.from_json_schema(text, any_whitespace=False, separators=(",", ":"))
    return not _is_grammar_accept_string(grammar, json.dumps(value, separators=(",", ":")))


@pytest.mark.parametrize(("schema", "value"), HELD)
def test_a_schema_that_a_grammar_holds_to_is_taken(schema: dict[str, Any], value: Any) -> None:
    assert unsupported(json.dumps(schema).encode()) is None
    assert held(schema, value)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("schema", "value", "message"), REFUSED)
def test_a_keyword_that_a_grammar_ignores_is_named(schema: dict[str, Any], value: Any, message: str) -> None:
    found = unsupported(json.dumps(schema).encode())
    assert found is not None and message.replace("\\", "") in found
    assert not held(schema, value)


@pytest.mark.parametrize(("schema", "message"), RAISED)
def test_what_else_is_refused(schema: dict[str, Any], message: str) -> None:
    assert message in str(unsupported(json.dumps(schema).encode()))
