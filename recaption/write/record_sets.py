"""What `croissant.json` says of the data: a RecordSet a table, with its fields, and the members of tars.

Format: https://github.com/mlcommons/croissant, docs/croissant-spec-1.1.md. Samples in tars are FileSets of members
contained in the FileSet of tars, and a record joins them by its key. mlcroissant 1.1.1 finds that valid, but opens only
archives that are named one by one, so it cannot read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa

from recaption import schema
from recaption.write.card import TABLES
from recaption.write.described import Table, models_of
from recaption.write.pixels import SUFFIXES

KEYS: Final = {"images": "key", "captions": "caption_id", "sub_captions": "sub_id"}
SYNTHETIC: Final = "sc:TrainedAlgorithmicMediaDigitalSource"  # IPTC's term for what a trained model made
_IN_JSON: Final = {
    "image_format": "image.format",
    "image_sha256": "image.sha256",
    "source_format": "image.source_format",
}
_TYPES: Final = {
    "string": "sc:Text",
    "bool": "sc:Boolean",
    "int32": "cr:Int32",
    "int64": "cr:Int64",
    "double": "cr:Float64",
}
_DATA: Final = (
    "a row per image with its captions; their sub-captions and tags, nested in them, are here in tables of their own"
)


def members(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What lies in tars: an image and a JSON of each sample. The `.txt` repeats one of the JSON's texts."""
    if manifest["format"] != "webdataset":
        return []
    formats = ["jpeg"] if manifest["images"] == "jpeg" else list(SUFFIXES)
    return [
        _in_tars("data-images", "<key> and the format's suffix", [f"image/{f}" for f in formats],
                 [f"*.{SUFFIXES[f]}" for f in formats]),
        _in_tars("data-json", "<key>.json", ["application/json"], ["*.json"]),
    ]  # fmt: skip


def _in_tars(name: str, names: str, formats: list[str], patterns: list[str]) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "description": f"members of the tars, a file a sample, named {names}",
        "containedIn": {"@id": "data-files"},
        "encodingFormat": formats[0] if len(formats) == 1 else formats,
        "includes": patterns,
    }


def record_set(table: Table, manifest: Mapping[str, Any]) -> dict[str, Any]:
    assert table.arrow is not None
    tars = table.suffix == "tar"
    fields = [field for column in table.arrow if (field := _field(table.name, column, tars))]
    made: dict[str, Any] = {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": TABLES.get(table.name, _DATA),
        "field": [*fields, *(_flat_texts(manifest) if tars else ())],
    }
    if table.name in KEYS:
        made["key"] = {"@id": f"{table.name}/{KEYS[table.name]}"}
    if table.name in ("captions", "sub_captions") and models_of(manifest):
        made["digitalSourceType"] = SYNTHETIC
    return made


def _flat_texts(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What `.json` members have beside the columns of a record: a string a generation, or a profile's lists."""
    lists = manifest["provenance"].get("profile", {}).get("lists", ())
    whole = schema.sample(manifest["tokenizers"], [g["id"] for g in manifest["generations"]], list(lists))
    known = {"v", *schema.records(manifest["tokenizers"], image=True).names}
    return [field for column in whole if column.name not in known and (field := _field("data", column, True))]


def _field(table: str, column: pa.Field, tars: bool) -> dict[str, Any] | None:
    """None for lists of structs within another: its jsonPath finds one text, not a list of them for each caption."""
    kind, name = column.type, column.name
    element = kind.value_type if pa.types.is_list(kind) else kind
    if pa.types.is_struct(element) and name == "captions":
        return _nested(table, column, element, tars)
    if name != "image" and str(element) not in _TYPES:
        return None
    source = _source(table, name, tars)
    if name == "image":
        source |= {"extract": {"fileProperty": "content"}} if tars else {"transform": {"jsonPath": "bytes"}}
    made = _described(f"{table}/{name}", column, "sc:ImageObject" if name == "image" else None, source)
    if tars and name == "key":
        named = {"extract": {"fileProperty": "filename"}, "transform": {"regex": r"^(.*)\.[a-z]+$"}}
        made["references"] = {"fileSet": {"@id": "data-images"}, **named}
    return made


def _nested(table: str, column: pa.Field, element: pa.StructType, tars: bool) -> dict[str, Any]:
    made = []
    for inner in element:
        if str(inner.type) in _TYPES:
            path = f"{column.name}[*].{inner.name}" if tars else column.name
            within = {} if tars else {"transform": {"jsonPath": inner.name}}
            made.append(
                _described(f"{table}/{column.name}/{inner.name}", inner, None, _source(table, path, tars) | within)
            )
    return {
        "@type": "cr:Field",
        "@id": f"{table}/{column.name}",
        "name": column.name,
        "description": _said_of(column),
        "isArray": True,
        "arrayShape": "-1",
        "subField": made,
    }


def _source(table: str, column: str, tars: bool) -> dict[str, Any]:
    if not tars:
        return {"fileSet": {"@id": f"{table}-files"}, "extract": {"column": column}}
    files = "data-images" if column == "image" else "data-json"
    return {"fileSet": {"@id": files}, "extract": {"jsonPath": f"$.{_IN_JSON.get(column, column)}"}}


def _described(id: str, column: pa.Field, data_type: str | None, source: dict[str, Any]) -> dict[str, Any]:
    is_list = pa.types.is_list(column.type)
    known = _TYPES.get(str(column.type.value_type if is_list else column.type))
    made: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": id,
        "name": column.name,
        "description": _said_of(column),
        "dataType": data_type or ("sc:URL" if column.name == "url" else known),
        "source": source,
    }
    return made | ({"isArray": True, "arrayShape": "-1"} if is_list else {})


def _said_of(column: pa.Field) -> str:
    return (column.metadata or {}).get(b"description", b"").decode()
