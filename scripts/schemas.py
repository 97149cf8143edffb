#!/usr/bin/env python3
"""Write the generated JSON Schemas in `schemas/` (`make schemas`): one per table, and the one of pipeline files.

They are derived from the Arrow tables, the closed lists and the settings of recaption. A test fails when the committed
files differ. A table's schema describes one row as a JSON object; `x-arrow` is the column's type in Parquet. The
schemas of `manifest.json`, `sizes.json`, `_info.json` and `metrics/` are maintained by hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, get_args

import orjson
import pyarrow as pa

from recaption import schema, types
from recaption.annotate import custom_tables
from recaption.config import Pipeline
from recaption.resources import shipped
from recaption.tasks.registry import shipped_tables
from recaption.types import SCHEMA_VERSION

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_SHA256_OR_EMPTY = "^([0-9a-f]{64})?$"
_SHA256 = "^[0-9a-f]{64}$"

_CLOSED: dict[str, tuple[str, ...]] = {
    "reason": get_args(types.Reason),
    "status": get_args(types.Status),
    "split": ("train", "val"),
    "stage": get_args(types.Stage),
    "finish_reason": get_args(types.FinishReason),
    "granularity": get_args(types.Granularity),
}
_PATTERNS = {
    "key": "^[A-Za-z0-9_-]{1,128}$",
    "sha256": _SHA256_OR_EMPTY,
    "image_sha256": _SHA256,
    "prompt_sha256": _SHA256,
    "caption_id": "^[A-Za-z0-9_-]{1,128}/[a-z][a-z0-9_]{0,31}/[0-9]+$",
    "sub_id": "^[A-Za-z0-9_-]{1,128}/[a-z][a-z0-9_]{0,31}/[0-9]+#[0-9]+$",
    "dup_of": "^[A-Za-z0-9_-]{1,128}/[a-z][a-z0-9_]{0,31}/[0-9]+#[0-9]+$",
}
_TOKENS = {"^n_tokens_.+$": {"type": "integer", "minimum": 2, "x-arrow": "int32"}}

TITLES: Final = {
    "index": "index/<source shard>.parquet: a row per sample of the source",
    "answers": "answers/<generation>-<fingerprint>/<source shard>.parquet: what the model returned",
    "rejects": "rejects/<source or generation-fingerprint>/<source shard>.parquet: what could not be used",
    "images": "builds/<build>/images/<shard>.parquet: a row per source sample, in source order",
    "captions": "builds/<build>/captions/<shard>.parquet: a row per image x caption, sorted by key",
    "sub_captions": "builds/<build>/sub_captions/<shard>.parquet: a row per sub-caption, sorted by key",
    "tags": "builds/<build>/tags/<shard>.parquet: a row per tag, sorted by key",
    "records": "builds/<build>/data/<shard>.parquet: the nested record (formats sidecar and parquet)",
    "sample": "<key>.json in builds/<build>/data/<shard>.tar: the nested record of a webdataset sample",
}


def tables() -> dict[str, pa.Schema]:
    """The Arrow schemas that are part of the contract, by name, without token columns."""
    return {
        "index": schema.INDEX,
        "answers": schema.ANSWERS,
        "rejects": schema.REJECTS,
        "images": schema.IMAGES,
        "captions": schema.CAPTIONS,
        "sub_captions": schema.sub_captions(),
        "tags": schema.TAGS,
        "records": schema.records(image=True),
    }


def json_schemas() -> dict[str, dict[str, Any]]:
    """Every generated JSON Schema by name; the file is `schemas/<name>.schema.json`."""
    made = {name: _document(name, _object(arrow), TITLES[name]) for name, arrow in tables().items()}
    for name, spec in {**shipped_tables(), **custom_tables.shipped_tables()}.items():
        title = f"builds/<build>/{name}/<shard>.parquet: {spec.description}; sorted by key"
        made[name] = _document(name, _object(spec.all_columns), title)
    records = made["records"]  # the image columns are there in format parquet only
    records["required"] = [n for n in records["required"] if n not in {"image", *_image_columns()}]
    made["sample"] = _document("sample", _sample(_object(schema.records())), TITLES["sample"])
    made["pipeline"] = {"$schema": DRAFT, "$id": "pipeline.schema.json", **Pipeline.model_json_schema()}
    return made


def _document(name: str, body: dict[str, Any], title: str) -> dict[str, Any]:
    return {
        "$schema": DRAFT,
        "$id": f"{name}.schema.json",
        "title": title,
        "x-schema-version": SCHEMA_VERSION,
        **body,
    }


def _image_columns() -> list[str]:
    return [n for n in schema.records(image=True).names if n not in schema.records().names]


def _object(fields: Iterable[pa.Field]) -> dict[str, Any]:
    fields = list(fields)
    made: dict[str, Any] = {
        "type": "object",
        "properties": {field.name: _property(field) for field in fields},
        "required": [field.name for field in fields],
        "additionalProperties": False,
    }
    if any(field.name == "n_words" for field in fields) and any(field.name == "sub_id" for field in fields):
        made["patternProperties"] = _TOKENS  # one column per tokenizer of the pipeline
    return made


def _property(field: pa.Field) -> dict[str, Any]:
    description = (field.metadata or {}).get(b"description", b"").decode()
    made = {**({"description": description} if description else {}), **_type(field.name, field.type)}
    if field.nullable:
        made["type"] = [made["type"], "null"]
        if "enum" in made:
            made["enum"] = [*made["enum"], None]
    return made


def _type(name: str, kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        element = kind.value_type
        return {"type": "array", "items": _object(element) if pa.types.is_struct(element) else _type("", element)}
    if pa.types.is_struct(kind):
        return _object(kind)
    if pa.types.is_binary(kind):
        return {"type": "string", "contentEncoding": "base64", "x-arrow": "binary"}
    if pa.types.is_boolean(kind):
        return {"type": "boolean", "x-arrow": "bool"}
    if pa.types.is_floating(kind):
        return {"type": "number", **({"minimum": 0, "maximum": 1} if name == "weight" else {}), "x-arrow": str(kind)}
    if pa.types.is_integer(kind):
        return {"type": "integer", **({} if name == "seed" else {"minimum": 0}), "x-arrow": str(kind)}
    made: dict[str, Any] = {"type": "string"}
    if name in _CLOSED:
        made["enum"] = list(_CLOSED[name])
    elif name in _PATTERNS:
        made["pattern"] = _PATTERNS[name]
    return {**made, "x-arrow": str(kind)}


def _sample(record: dict[str, Any]) -> dict[str, Any]:
    """The `.json` member: usable samples only, nulls left out at the top level, flat strings beside the nested form."""
    properties = {name: dict(value) for name, value in record["properties"].items()}
    optional = [name for name, value in properties.items() if isinstance(value["type"], list)]
    for name in optional:
        properties[name]["type"] = properties[name]["type"][0]
        if "enum" in properties[name]:
            properties[name]["enum"] = [v for v in properties[name]["enum"] if v is not None]
        properties[name]["description"] += "; left out when there is none"
    properties["status"]["enum"] = ["ok", "partial"]
    properties["sha256"]["pattern"] = _SHA256
    image = {
        "description": "the image member beside this one",
        "type": "object",
        "properties": {
            "format": {"description": "of the member: jpeg, png or webp", "type": "string"},
            "sha256": {"description": "of the member's bytes", "type": "string", "pattern": _SHA256},
            "source_format": {"description": "of the source's bytes", "type": "string"},
            "source_sha256": {"description": "of the source's bytes", "type": "string", "pattern": _SHA256},
        },
        "required": ["format", "sha256", "source_format", "source_sha256"],
        "additionalProperties": False,
    }
    flat = {"type": "string", "minLength": 1}
    sentences = {"type": "array", "items": flat}
    lists = {
        name: {"description": f"profile flair: sentences of the generation that stands for {name}", **sentences}
        for name in get_args(types.FlairList)
        if name != "raw_caption"
    }
    captions = properties.pop("captions")
    return {
        "type": "object",
        "properties": {
            "v": {"description": "schema_version", "type": "string", "pattern": r"^1\.[0-9]+$"},
            **properties,
            "image": image,
            "raw_caption": {
                "description": "text of the raw caption, left out when there is none; profile flair: its sentences",
                "oneOf": [flat, sentences],
            },
            **lists,
            "captions": captions,
        },
        "patternProperties": {
            "^caption_[a-z][a-z0-9_]{0,31}$": {"description": "text of that generation; left out when missing", **flat}
        },
        "required": ["v", *[n for n in properties if n not in optional], "image", "captions"],
        "additionalProperties": False,
    }


def render(body: dict[str, Any]) -> bytes:
    """The bytes of a schema's file."""
    return orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    for name, body in json_schemas().items():
        (shipped("schemas") / f"{name}.schema.json").write_bytes(render(body))
