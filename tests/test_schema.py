"""types.py, the Arrow schemas and schemas/*.json say the same, and the examples of schemas/README.md are valid."""

from __future__ import annotations

import base64
import json
import re
import types as python_types
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from verified import VERIFICATIONS

from recaption import schema, types
from recaption.errors import DatasetError
from recaption.resources import shipped
from recaption.tasks import registry
from schemas import json_schemas, render, tables

SCHEMAS = shipped("schemas")
README = (SCHEMAS / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```json (\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
BY_HAND = {"log", "manifest", "sizes", "_info", "run"}
ARROW = {"string": pa.string(), "int32": pa.int32(), "int64": pa.int64(), "bool": pa.bool_(), "double": pa.float64()}


def load(name: str) -> dict[str, Any]:
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))


def names() -> list[str]:
    return sorted(
        p.name.removesuffix(".schema.json") for p in SCHEMAS.glob("*.schema.json") if "pipeline" not in p.name
    )


def validator(name: str) -> Draft202012Validator:
    registry = Registry().with_resources((f"{n}.schema.json", Resource.from_contents(load(n))) for n in names())
    return Draft202012Validator(load(name), registry=registry)


# types.py <-> Arrow


def arrow_of(hint: Any) -> tuple[set[pa.DataType], bool]:
    """The Arrow types that a Python hint may be stored as, and whether it may be null."""
    if get_origin(hint) in (Union, python_types.UnionType):
        inner = [part for part in get_args(hint) if part is not type(None)]
        assert len(inner) == 1
        return arrow_of(inner[0])[0], True
    if get_origin(hint) is Literal:
        return {pa.string()}, False
    plain = {str: {pa.string()}, int: {pa.int32(), pa.int64()}, float: {pa.float64()}, bool: {pa.bool_()}}
    plain[bytes] = {pa.binary()}
    return plain[hint], False


def compare(cls: type, columns: list[pa.Field], *, apart: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    hints = get_type_hints(cls)
    by_name = {column.name: column for column in columns}
    members = {f.name for f in fields(cls)} - apart
    assert members == set(by_name), f"{cls.__name__} and its table differ"
    for name in members:
        column = by_name[name]
        if pa.types.is_list(column.type):
            hint = hints[name]  # an empty tuple may stand for null, too
            (many,) = {hint} if get_origin(hint) is tuple else set(get_args(hint)) - {type(None)}
            assert get_origin(many) is tuple and (many is hint or column.nullable), name
            element = get_args(many)[0]
            assert pa.types.is_struct(column.type.value_type) or column.type.value_type in arrow_of(element)[0], name
            continue
        kinds, nullable = arrow_of(hints[name])
        assert column.type in kinds and column.nullable == nullable, f"{cls.__name__}.{name}: {column}"


def without(columns: Any, *names: str) -> list[pa.Field]:
    return [column for column in columns if column.name not in names]


def test_answer_and_reject_have_the_columns_of_their_tables() -> None:
    compare(types.Answer, list(schema.ANSWERS))
    compare(types.Attempt, list(schema.ANSWERS.field("attempts").type.value_type))
    compare(types.Reject, list(schema.REJECTS))


def test_image_and_locator_have_the_columns_of_the_index() -> None:
    spread = {"path", "member", "offset", "size", "file_row"}
    written = without(schema.INDEX, *spread, "columns", "raw_caption")  # the first of raw_captions, for readers of 1.2
    compare(types.Image, written, apart={"shard", "locator", "columns"})
    renamed = [c if c.name != "file_row" else c.with_name("row") for c in schema.INDEX if c.name in spread]
    compare(types.Locator, renamed)


def nested(tokenizers: tuple[str, ...] = ()) -> tuple[list[pa.Field], list[pa.Field], list[pa.Field]]:
    captions = list(schema.records(tokenizers).field("captions").type.value_type)
    subs = list(captions[-1].type.value_type)
    return captions, subs, list(subs[-1].type.value_type)


def test_the_dataclasses_have_the_fields_of_the_nested_record() -> None:
    captions, subs, tags = nested(("clip",))
    compare(types.Record, list(schema.records()))
    compare(types.Caption, captions)
    compare(types.SubCaption, without(subs, "n_tokens_clip", "tag_lemmas"), apart={"n_tokens"})
    compare(types.Tag, tags)


def test_types_of_columns_are_read_from_their_names() -> None:
    for kind in (*ARROW.values(), pa.list_(pa.string()), pa.list_(pa.list_(pa.float32()))):
        assert schema.arrow_type(str(kind)).equals(kind)
    for name in ("timestamp[us]", "list<item: struct<a: int32>>", "dictionary<values=string>", "", "list<item: >"):
        with pytest.raises(ValueError, match="is not allowed; allowed: string, bool"):
            schema.arrow_type(name)


def test_tables_of_shipped_tasks_have_a_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {name for name in registry.shipped_tables()} <= set(names())
    monkeypatch.setattr(registry, "shipped_tables", lambda: {"verifications": VERIFICATIONS})
    monkeypatch.setattr("schemas.shipped_tables", registry.shipped_tables)
    made = json_schemas()["verifications"]
    assert made["required"][:3] == ["key", "generation", "sub_id"] and made["title"].startswith("builds/<build>/verif")
    row = {"key": "a", "generation": "check", "sub_id": "a/long/0#0", "model": "m", "prompt": "p", "p_true": 0.5}
    Draft202012Validator(made).validate(row | {"coverage": None, "likelihood": None})


def test_flat_tables_and_the_nested_record_have_equal_columns() -> None:
    captions, subs, tags = nested(("clip", "siglip"))
    flat = schema.sub_captions(("clip", "siglip"))
    for column in without(subs, "tags"):
        assert flat.field(column.name).equals(column)
    assert {"n_tokens_clip", "n_tokens_siglip"} < set(flat.names)
    for column in without(captions, "sub_captions"):
        assert schema.CAPTIONS.field(column.name).equals(column)
    assert [c.name for c in tags] == [n for n in schema.TAGS.names if n not in ("sub_id", "key")]
    assert all(f.metadata[b"description"] for table in tables().values() for f in table if f.name != "image")


# Arrow <-> JSON


def check(properties: Mapping[str, Any], required: list[str], columns: list[pa.Field]) -> None:
    assert list(properties) == [column.name for column in columns]
    assert set(required) <= set(properties)
    for column in columns:
        prop = properties[column.name]
        kinds = prop["type"] if isinstance(prop["type"], list) else [prop["type"]]
        assert column.nullable == ("null" in kinds), column.name
        if "x-arrow" in prop:
            assert pa.types.is_binary(column.type) or column.type == ARROW[prop["x-arrow"]], column.name
        elif "array" in kinds:
            items, element = prop["items"], column.type.value_type
            if pa.types.is_struct(element):
                check(items["properties"], items["required"], list(element))
            else:
                assert element == ARROW[items["x-arrow"]]
        else:
            check(prop["properties"], prop["required"], list(column.type))


@pytest.mark.parametrize("name", sorted(tables()))
def test_json_schemas_agree_with_arrow_schemas(name: str) -> None:
    check(load(name)["properties"], load(name)["required"], list(tables()[name]))


def test_a_sample_is_a_record_with_flat_strings() -> None:
    sample = load("sample")
    flat = set(get_args(types.FlairList))  # raw_caption is the one that has two forms
    added = {"v", "image", *flat}
    assert set(sample["properties"]) - added == set(schema.records().names)
    check({"captions": sample["properties"]["captions"]}, [], [schema.records().field("captions")])
    null = {c.name for c in schema.records() if c.nullable}
    assert set(sample["required"]) == set(sample["properties"]) - null - flat


def enums(node: Any, name: str) -> list[list[Any]]:
    """Every closed list of a property called `name`, anywhere in a schema."""
    found = []
    if isinstance(node, dict):
        for key, value in node.items():
            if key == name and isinstance(value, dict) and "enum" in value:
                found.append([v for v in value["enum"] if v is not None])
            found += enums(value, name)
    elif isinstance(node, list):
        for value in node:
            found += enums(value, name)
    return found


@pytest.mark.parametrize(
    ("column", "closed"),
    [
        ("reason", types.Reason),
        ("stage", types.Stage),
        ("finish_reason", types.FinishReason),
        ("granularity", types.Granularity),
        ("status", types.Status),
    ],
)
def test_closed_lists_of_values_are_those_of_types(column: str, closed: Any) -> None:
    found = [values for name in tables() for values in enums(load(name), column)]
    assert found and all(values == list(get_args(closed)) for values in found)


def test_committed_schemas_are_up_to_date() -> None:
    derived = json_schemas()
    for name, body in derived.items():
        committed = (SCHEMAS / f"{name}.schema.json").read_bytes()
        assert committed == render(body), f"{name}: run make schemas"
    assert {*names(), "pipeline"} == set(derived) | BY_HAND


@pytest.mark.parametrize("name", names())
def test_schemas_are_valid_and_of_this_version(name: str) -> None:
    Draft202012Validator.check_schema(load(name))
    assert load(name)["$id"] == f"{name}.schema.json" and load(name)["x-schema-version"] == types.SCHEMA_VERSION


# README


def test_the_readme_has_an_example_of_every_file() -> None:
    assert {name for name, _ in EXAMPLES} == set(names())
    assert f"version {types.SCHEMA_VERSION}" in README.splitlines()[0]


@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(EXAMPLES)])
def test_readme_examples_are_valid(name: str, text: str) -> None:
    example = json.loads(text)
    validator(name).validate(example)
    if name in tables():  # and fit the Arrow schema, token columns included
        tokenizers = ("clip",) if "n_tokens_clip" in text else ()
        arrow = {
            "sub_captions": schema.sub_captions(tokenizers),
            "records": schema.records(tokenizers, image="image" in example),
        }
        if "image" in example:
            example["image"]["bytes"] = base64.b64decode(example["image"]["bytes"])
        pa.Table.from_pylist([example], schema=arrow.get(name, tables()[name])).validate(full=True)


@pytest.mark.parametrize(("name", "text"), EXAMPLES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(EXAMPLES)])
def test_schemas_refuse_invalid_examples(name: str, text: str) -> None:
    """Each example becomes invalid when a required field goes, or one that nobody knows comes."""
    example = json.loads(text)
    for missing in load(name).get("required", []):
        assert not validator(name).is_valid({k: v for k, v in example.items() if k != missing}), missing
    if name not in {"run", "log", "sizes"}:
        assert not validator(name).is_valid({**example, "surprise": 1})


def test_flat_strings_are_never_null_or_empty() -> None:
    example = json.loads(next(text for name, text in EXAMPLES if name == "sample"))
    for flat in ("raw_caption", "caption_long"):
        assert validator("sample").is_valid({k: v for k, v in example.items() if k != flat})
        for bad in (None, ""):
            assert not validator("sample").is_valid({**example, flat: bad})
    assert not validator("sample").is_valid({**example, "status": "reject"})


# versions


@pytest.mark.parametrize(("version", "message"), [(None, "not written by recaption"), (b"2.0", "Upgrade")])
def test_foreign_and_newer_files_are_refused(version: bytes | None, message: str) -> None:
    metadata = {schema.VERSION_KEY: version} if version else {}
    with pytest.raises(DatasetError, match=message):
        schema.check_version(schema.CAPTIONS.with_metadata(metadata), "x.parquet")


def test_a_newer_minor_version_is_read() -> None:
    schema.check_version(schema.CAPTIONS.with_metadata({schema.VERSION_KEY: b"1.7"}), "x.parquet")


def test_the_schema_of_an_earlier_version_has_no_later_columns() -> None:
    assert "is_unparsed" in schema.sub_captions().names
    assert schema.as_of(schema.sub_captions(), "1.3").equals(schema.sub_captions())
    before = schema.as_of(schema.sub_captions(["clip"]), "1.2")
    later = [name for name in schema.sub_captions(["clip"]).names if name not in before.names]
    assert later == ["is_unparsed", "lp_mean", "lp_min", "lp_std"]
    captions = schema.as_of(schema.records(image=True), "1.2").field("captions").type.value_type
    nested = captions.field("sub_captions").type.value_type
    assert "is_unparsed" not in {field.name for field in nested} and "tags" in {field.name for field in nested}
    assert schema.as_of(schema.sub_captions(), "1.10").equals(schema.sub_captions())
    for name, table in schema.flat().items():
        assert all(field.nullable for field in table if field.metadata.get(b"since")), name
