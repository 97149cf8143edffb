"""Records from what lies on disk: `.json` members, rows of nested Parquet, and the tars of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from typing import Any, Final

import orjson

from recaption.errors import DatasetError
from recaption.text import normalise
from recaption.types import Caption, Record, SubCaption, Tag

_COUNTS: Final = "n_tokens_"


def record_of(data: Mapping[str, Any], *, tags: bool = True) -> Record:
    """A nested record (schemas/records.schema.json) as `recaption.types.Record`; without `tags` sub-captions have none,
    which takes half the time. Fields that a newer minor version has added are left out. Raises DatasetError.
    """
    try:
        captions = tuple([_caption(caption, tags) for caption in data["captions"]])
        return Record(**_known(data, _RECORD), captions=captions)
    except (KeyError, TypeError, AttributeError) as error:
        key = data.get("key") if isinstance(data, Mapping) else None
        raise DatasetError(f"it is not a record of recaption: {error!r}", key=str(key)) from error


def sample_record(key: str, members: Mapping[str, bytes], shard: str, row: int, *, tags: bool = True) -> Record:
    """The record of a tar's sample. One that recaption has not written has the caption that came with it, as `raw`:
    `caption` of its `.json` (img2dataset/writer.py), else its `.txt`. Raises DatasetError.
    """
    data = _json(members["json"], key) if "json" in members else {}
    captions = data.get("captions")
    if isinstance(captions, list) and all(isinstance(one, dict) and "caption_id" in one for one in captions):
        if data.get("key") != key:
            raise DatasetError(f"the .json beside the image is that of {data.get('key')!r}", key=key, shard=shard)
        return record_of(data, tags=tags)
    said = data.get("caption")
    text = said if isinstance(said, str) else members.get("txt", b"").decode("utf-8", "replace")
    text = normalise(text)
    raw = Caption(caption_id=f"{key}/raw/0", generation="raw", source="raw", granularity="raw", text=text)
    return Record(
        key=key,
        source_key=key,
        shard=shard,
        row=row,
        sha256=str(data.get("sha256") or ""),
        status="ok",
        url=data["url"] if isinstance(data.get("url"), str) else None,
        captions=(raw,) if text else (),
    )


def _names(kind: type, *without: str) -> tuple[tuple[str, bool], ...]:
    """Fields and whether each must be there."""
    return tuple(
        (f.name, f.default is MISSING and f.default_factory is MISSING) for f in fields(kind) if f.name not in without
    )


_RECORD, _CAPTION = _names(Record, "captions"), _names(Caption, "sub_captions")
_SUB, _TAG = _names(SubCaption, "n_tokens", "tags"), _names(Tag, "attributes")


def _known(data: Mapping[str, Any], names: Iterable[tuple[str, bool]]) -> dict[str, Any]:
    return {name: data[name] for name, required in names if required or name in data}


def _caption(data: Mapping[str, Any], tags: bool) -> Caption:
    subs = data["sub_captions"]
    counts = [name for name in subs[0] if name.startswith(_COUNTS)] if subs else []
    return Caption(**_known(data, _CAPTION), sub_captions=tuple([_sub_caption(sub, counts, tags) for sub in subs]))


def _sub_caption(data: Mapping[str, Any], counts: list[str], tags: bool) -> SubCaption:
    return SubCaption(
        **_known(data, _SUB),
        n_tokens={name[len(_COUNTS) :]: data[name] for name in counts},
        tags=tuple([_tag(tag) for tag in data["tags"]]) if tags else (),
    )


def _tag(data: Mapping[str, Any]) -> Tag:
    return Tag(**_known(data, _TAG), attributes=tuple(data["attributes"]))


def _json(data: bytes, key: str) -> dict[str, Any]:
    try:
        made = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DatasetError(f"the .json is not JSON: {error}", key=key) from error
    if not isinstance(made, dict):
        raise DatasetError("the .json is no JSON object", key=key)
    return made
