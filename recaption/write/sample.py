"""The text members of a webdataset sample: `.json`, the nested record with flat strings beside it, and `.txt`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from recaption.text import fold
from recaption.types import SCHEMA_VERSION, Caption, Record, SubCaption
from recaption.write.pixels import Stored
from recaption.write.profile import FlairProfile


def sample_json(
    record: Record, image: Stored, tokenizers: Sequence[str] = (), profile: FlairProfile | None = None
) -> bytes:
    """The `.json` member (`schemas/sample.schema.json`), UTF-8, keys in a fixed order, no white space.

    Flat strings (`raw_caption`, `caption_<generation>`) are what open_clip's `--json-text-key` looks for; like url,
    width, height, orientation and reason they are left out when missing, never null or empty. With a profile
    FLAIR's seven lists stand in their place.
    """
    made: dict[str, Any] = {
        "v": SCHEMA_VERSION,
        "key": record.key,
        "source_key": record.source_key,
        "shard": record.shard,
        "row": record.row,
        "sha256": record.sha256,
        "status": record.status,
    }
    if record.reason is not None:
        made["reason"] = record.reason
    made["split"] = record.split
    if record.url:
        made["url"] = record.url
    if record.width is not None and record.height is not None:
        made["width"], made["height"] = record.width, record.height
    if record.orientation is not None:
        made["orientation"] = record.orientation
    made["image"] = {
        "format": image.format,
        "sha256": image.sha256,
        "source_format": image.source_format,
        "source_sha256": image.source_sha256,
    }
    made |= profile.lists(record.captions) if profile else flat_texts(record)
    made["captions"] = [_caption(caption, tokenizers) for caption in record.captions]
    return orjson.dumps(made)


def flat_texts(record: Record) -> dict[str, str]:
    """The captions as flat strings, by the name of the field: `raw_caption`, `caption_<generation>`."""
    texts: dict[str, str] = {}
    for caption in record.captions:
        texts.setdefault(flat_name(caption.generation), caption.text)
    return texts


def flat_name(generation: str) -> str:
    """The field that a generation's text has as a flat string."""
    return "raw_caption" if generation == "raw" else f"caption_{generation}"


def primary_text(record: Record, primary: Sequence[str]) -> str:
    """The `.txt` member: the first text there is in the order of `primary`, else the first caption, on one line."""
    texts = record.texts()
    first = record.captions[0].text if record.captions else ""
    return fold(next((texts[name] for name in primary if name in texts), first))


def _caption(caption: Caption, tokenizers: Sequence[str]) -> dict[str, Any]:
    return {
        "caption_id": caption.caption_id,
        "generation": caption.generation,
        "source": caption.source,
        "granularity": caption.granularity,
        "text": caption.text,
        "finish_reason": caption.finish_reason,
        "lang": caption.lang,
        "cleaned": caption.cleaned,
        "sub_captions": [_sub_caption(sub, tokenizers) for sub in caption.sub_captions],
    }


def _sub_caption(sub: SubCaption, tokenizers: Sequence[str]) -> dict[str, Any]:
    return {
        "sub_id": sub.sub_id,
        "idx": sub.idx,
        "text": sub.text,
        "char_start": sub.char_start,
        "char_end": sub.char_end,
        "n_words": sub.n_words,
        **{f"n_tokens_{name}": sub.n_tokens[name] for name in tokenizers},
        "tag_lemmas": [tag.lemma for tag in sub.tags if tag.kind == "object"],
        "is_first": sub.is_first,
        "is_last": sub.is_last,
        "is_fragment": sub.is_fragment,
        "is_negation": sub.is_negation,
        "is_meta": sub.is_meta,
        "is_boilerplate": sub.is_boilerplate,
        "is_unparsed": sub.is_unparsed,
        "content_start": sub.content_start,
        "dup_of": sub.dup_of,
        "lang": sub.lang,
        "weight": sub.weight,
        # dicts: orjson takes twice as long over dataclasses with slots
        "tags": [
            {
                "lemma": tag.lemma,
                "label": tag.label,
                "text": tag.text,
                "char_start": tag.char_start,
                "char_end": tag.char_end,
                "attributes": tag.attributes,
                "count": tag.count,
                "plural": tag.plural,
                "kind": tag.kind,
            }
            for tag in sub.tags
        ],
    }
