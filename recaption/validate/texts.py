"""Captions, sub-captions and tags of one shard: their ids, spans, order and repeats."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from recaption.annotate.blocks import is_gap
from recaption.problems import Problem
from recaption.schema import FLAT
from recaption.text import LONGEST, normalise
from recaption.validate.kinds import problem
from recaption.validate.shard import Shard

_FLAIR_GAP = re.compile(r"(?:\s|\.|</s>)*")  # what FLAIR's own splitter cuts at and drops


def check_captions(shard: Shard) -> Iterator[Problem]:
    """Ids, texts as they are stored, and the generation that made them."""
    path = shard.path("captions")
    made = {g["id"]: (f"{g['model']}:{g['prompt'] or g['column']}", g["kind"]) for g in shard.manifest["generations"]}
    made["raw"] = ("raw", "raw")
    seen: set[str] = set()
    split_of = dict(shard.columns("images", "key", "split"))
    names = ("caption_id", "key", "shard", "split", "generation", "source", "granularity", "text", "n_words")
    for caption_id, key, of, split, generation, source, granularity, text, n_words in shard.columns("captions", *names):
        where = f"{path}, {caption_id}"
        if caption_id in seen:
            yield problem("caption", where, "is there twice")
        seen.add(caption_id)
        if caption_id.rpartition("/")[0] != f"{key}/{generation}":
            yield problem("caption", where, f"belongs to key {key}, generation {generation}")
        if made.get(generation) != (source, granularity):
            what = (
                f"generation {generation}, source {source}, granularity {granularity}: the manifest knows no such one"
            )
            yield problem("caption", where, what)
        if not text or normalise(text) != text:
            yield problem("caption", where, "its text is empty or not normalised, so offsets mean something else")
        if len(text.encode()) > LONGEST:
            yield problem("caption", where, f"its text has {len(text.encode()):,} bytes; the limit is {LONGEST:,}")
        if n_words != len(text.split()):
            yield problem("caption", where, f"n_words is {n_words}, counted {len(text.split())}")
        if key not in shard.usable:
            yield problem("caption", where, f"its image {key} is not usable, or not there")
        elif (of, split) != (shard.name, split_of[key]):
            yield problem(
                "caption", where, f"is in shard {of}, split {split}; its image in {shard.name}, {split_of[key]}"
            )


@dataclass(slots=True)
class _Caption:
    """What of a caption its sub-captions are compared with, and how far they have come."""

    text: str
    owner: tuple[str, ...]  # key, shard, generation, source, granularity
    n_sub_captions: int
    next_idx: int = 0
    end: int = 0
    last: bool = True  # whether the newest sub-caption says that it is the last


def check_sub_captions(shard: Shard) -> Iterator[Problem]:
    """Spans, order, what lies between them, and repeats."""
    path = shard.path("sub_captions")
    owner = ("key", "shard", "generation", "source", "granularity")
    captions = {
        row[0]: _Caption(row[1], row[3:], row[2])
        for row in shard.columns("captions", "caption_id", "text", "n_sub_captions", *owner)
    }
    earlier: dict[str, set[str]] = defaultdict(set)
    spans = ("idx", "text", "char_start", "char_end", "content_start", "is_first", "is_last", "dup_of")
    drops = shard.manifest["provenance"].get("annotate")
    flair = isinstance(drops, dict) and str(drops.get("splitter", "")).startswith("flair")
    for sub_id, caption_id, *rest in shard.columns("sub_captions", "sub_id", "caption_id", *owner, *spans):
        of, (idx, text, start, end, content, is_first, is_last, dup_of) = tuple(rest[:5]), rest[5:]
        where = f"{path}, {sub_id}"
        caption = captions.get(caption_id)
        if caption is None:
            yield problem("sub-caption", where, f"is of caption {caption_id}, which is not in the table captions")
            continue
        if sub_id != f"{caption_id}#{idx}" or of != caption.owner:
            yield problem("sub-caption", where, f"its ids or its owner are not those of {caption_id}, number {idx}")
        if idx != caption.next_idx or is_first != (idx == 0):
            yield problem("sub-caption", where, f"idx is {idx}, expected {caption.next_idx}; is_first is {is_first}")
        if dup_of is not None and dup_of not in earlier[of[0]]:
            yield problem("dup_of", where, f"dup_of is {dup_of}, which is no earlier sub-caption of the image")
        earlier[of[0]].add(sub_id)
        if not caption.end <= start < end <= len(caption.text) or caption.text[start:end] != text:
            yield problem("span", where, f"text is not the caption's [{start}:{end}], or overlaps the one before")
        elif not start <= content <= end:
            yield problem("span", where, f"content_start is {content}, outside of [{start}:{end}]")
        elif not _is_gap(caption.text[caption.end : start], flair):
            yield problem("gap", where, f"before it stands {caption.text[caption.end : start]!r}, in no sub-caption")
        caption.next_idx, caption.end, caption.last = idx + 1, max(caption.end, end), is_last
    for caption_id, caption in captions.items():
        where = f"{shard.path('captions')}, {caption_id}"
        if caption.next_idx != caption.n_sub_captions:
            yield problem("sub-caption", where, f"n_sub_captions is {caption.n_sub_captions}, found {caption.next_idx}")
        if not caption.last:
            yield problem("sub-caption", where, "its last sub-caption does not say is_last")
        if caption.next_idx and not _is_gap(caption.text[caption.end :], flair):
            yield problem("gap", where, f"its end, {caption.text[caption.end :]!r}, is in no sub-caption")


def _is_gap(text: str, flair: bool) -> bool:
    return not text or is_gap(text) or (flair and _FLAIR_GAP.fullmatch(text) is not None)


def check_tags(shard: Shard) -> Iterator[Problem]:
    """Spans within their sub-caption, and the lemmas that the sub-caption repeats."""
    path = shard.path("tags")
    texts = dict(shard.columns("captions", "caption_id", "text"))
    subs = {
        sub_id: (key, caption_id, start, end)
        for sub_id, key, caption_id, start, end in shard.columns(
            "sub_captions", "sub_id", "key", "caption_id", "char_start", "char_end"
        )
    }
    lemmas: dict[str, list[str]] = defaultdict(list)
    for sub_id, key, lemma, text, start, end, kind in shard.columns(
        "tags", "sub_id", "key", "lemma", "text", "char_start", "char_end", "kind"
    ):
        where = f"{path}, {sub_id} {lemma!r}"
        if kind == "object":
            lemmas[sub_id].append(lemma)
        if sub_id not in subs or subs[sub_id][0] != key:
            yield problem("tag", where, f"there is no such sub-caption of image {key}")
            continue
        _, caption_id, first, last = subs[sub_id]
        if not first <= start < end <= last or texts.get(caption_id, "")[start:end] != text:
            yield problem("tag", where, f"{text!r} is not the caption's [{start}:{end}], or not within the sub-caption")
    for sub_id, listed in shard.columns("sub_captions", "sub_id", "tag_lemmas"):
        if listed != lemmas.get(sub_id, []):
            what = f"tag_lemmas are {listed}; its objects in the table tags are {lemmas.get(sub_id, [])}"
            yield problem("tag", f"{shard.path('sub_captions')}, {sub_id}", what)


def check_own(shard: Shard) -> Iterator[Problem]:
    """Tables of the pipeline's own are about sub-captions that there are."""
    subs = set(shard.columns("sub_captions", "sub_id", "key"))
    for name in shard.tables.keys() - {*FLAT}:
        for pair in shard.columns(name, "sub_id", "key"):
            if pair not in subs:
                yield problem(
                    "tag", f"{shard.path(name)}, {pair[0]}", f"there is no such sub-caption of image {pair[1]}"
                )
