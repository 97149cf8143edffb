"""Reads records: `.json` members, rows of nested Parquet, and samples of tars that recaption did not write."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from operator import itemgetter
from typing import Any, Final

import orjson

from recaption.errors import DatasetError, MissingExtra
from recaption.text import normalise
from recaption.types import Caption, Record, SubCaption, Tag

try:
    import msgspec
except ImportError as error:
    raise MissingExtra("msgspec", "train") from error

_COUNTS: Final = "n_tokens_"
# Counts as recaption writes them, after the sub_id, without white space. Texts cannot match: quotes are escaped.
_COUNT: Final = re.compile(rb',"n_tokens_(\w+)":(\d+)(?=[,}])')
_NAMED: Final = b'"n_tokens_'
_set = object.__setattr__


def record_of(data: Mapping[str, Any], *, tags: bool = True) -> Record:
    """A nested record (schemas/records.schema.json) as `recaption.types.Record`; without `tags` it has no tags.
    Fields of newer minor versions are ignored. Raises DatasetError.
    """
    try:
        captions = tuple([_caption(caption, tags) for caption in data["captions"]])
        return Record(**_record_fields(data), captions=captions)
    except (KeyError, TypeError, AttributeError) as error:
        key = data.get("key") if isinstance(data, Mapping) else None
        raise DatasetError(f"it is not a record of recaption: {error!r}", key=str(key)) from error


def sample_record(key: str, members: Mapping[str, bytes], shard: str, row: int, *, tags: bool = True) -> Record:
    """The record of a sample in a tar. If recaption did not write it, its own caption is the raw caption: `caption` of
    its `.json` (img2dataset/writer.py), or its `.txt`. Raises DatasetError.
    """
    json = members.get("json", b"{}").removeprefix(codecs.BOM_UTF8)
    if (made := _decoded(json, tags)) is not None:
        _check_key(made.key, key, shard)
        return made
    data = _json(json, key)
    captions = data.get("captions")
    if isinstance(captions, list) and all(isinstance(one, dict) and "caption_id" in one for one in captions):
        _check_key(data.get("key"), key, shard)
        return record_of(data, tags=tags)
    caption = data.get("caption")
    text = caption if isinstance(caption, str) else members.get("txt", b"").decode("utf-8", "replace")
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


def _check_key(found: Any, key: str, shard: str) -> None:
    if found != key:
        raise DatasetError(f"the .json of the sample has the key {found!r}", key=key, shard=shard)


class _Untagged(SubCaption):
    """A sub-caption without tags, which are more than half of a record and are not always needed."""

    __slots__ = ()


_Untagged.__dataclass_fields__ = {
    name: field for name, field in SubCaption.__dataclass_fields__.items() if name not in ("tags", "n_tokens")
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _UntaggedCaption(Caption):
    sub_captions: tuple[_Untagged, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _UntaggedRecord(Record):
    captions: tuple[_UntaggedCaption, ...] = ()


_tagged, _untagged = msgspec.json.Decoder(Record), msgspec.json.Decoder(_UntaggedRecord)


def _decoded(json: bytes, tags: bool) -> Record | None:
    """The result of `record_of` for this JSON, in a quarter of the time; None for JSON that needs `record_of`: not a
    record, not written by recaption, or with values of a newer minor version.
    """
    named = json.count(_NAMED)
    counts = _COUNT.findall(json) if named else []
    try:
        made = (_tagged if tags else _untagged).decode(json)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not made.captions:
        return None
    subs = [sub for caption in made.captions for sub in caption.sub_captions]
    of_each = len({name for name, _ in counts})
    if not named == len(counts) == of_each * len(subs):
        return None
    if not tags:  # the types differ only in the fields that are set here
        _set(made, "__class__", Record)
        for caption in made.captions:
            _set(caption, "__class__", Caption)
        for sub in subs:
            _set(sub, "__class__", SubCaption)
            _set(sub, "tags", ())
            _set(sub, "n_tokens", {})
    for n, sub in enumerate(subs if of_each else ()):
        of_sub = counts[n * of_each : (n + 1) * of_each]
        _set(sub, "n_tokens", {name.decode(): int(count) for name, count in of_sub})
    return made


class _Known:
    """Selects the fields of a type from a mapping. If all are present, in one step: field by field takes three times as
    long, and a record has dozens of parts."""

    def __init__(self, kind: type, *without: str) -> None:
        known = [f for f in fields(kind) if f.name not in without]
        self._names = [f.name for f in known]
        self._required = {f.name for f in known if f.default is MISSING and f.default_factory is MISSING}
        self._all = itemgetter(*self._names)

    def __call__(self, data: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return dict(zip(self._names, self._all(data), strict=True))
        except KeyError:
            return {name: data[name] for name in self._names if name in self._required or name in data}


_record_fields, _caption_fields = _Known(Record, "captions"), _Known(Caption, "sub_captions", "cleaned", "box")
_sub_fields, _tag_fields = _Known(SubCaption, "n_tokens", "tags"), _Known(Tag, "attributes")


def _caption(data: Mapping[str, Any], tags: bool) -> Caption:
    subs = data.get("sub_captions", ())
    counts = [name for name in subs[0] if name.startswith(_COUNTS)] if subs else []
    cleaned, box = data.get("cleaned"), data.get("box")
    return Caption(
        **_caption_fields(data),
        cleaned=None if cleaned is None else tuple(cleaned),
        box=None if box is None else tuple(box),
        sub_captions=tuple([_sub_caption(sub, counts, tags) for sub in subs]),
    )


def _sub_caption(data: Mapping[str, Any], counts: list[str], tags: bool) -> SubCaption:
    return SubCaption(
        **_sub_fields(data),
        n_tokens={name[len(_COUNTS) :]: data[name] for name in counts},
        tags=tuple([_tag(tag) for tag in data.get("tags", ())]) if tags else (),
    )


def _tag(data: Mapping[str, Any]) -> Tag:
    return Tag(**_tag_fields(data), attributes=tuple(data.get("attributes", ())))


def _json(data: bytes, key: str) -> dict[str, Any]:
    try:
        made = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DatasetError(f"the .json is not JSON: {error}", key=key) from error
    if not isinstance(made, dict):
        raise DatasetError("the .json is not a JSON object", key=key)
    return made
