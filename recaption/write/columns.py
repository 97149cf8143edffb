"""Records as columns: one pass over the objects fills the arrays of the nested table and of all flat ones.

Built from column lists, not from row dicts: `Table.from_pylist` costs as much as the compression after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recaption import schema
from recaption.types import Caption, Record, SubCaption, Tag

_CAPTION = (
    *("caption_id", "generation", "source", "granularity", "text", "finish_reason", "lang"),
    *("translated_from", "aspect", "region_id", "box", "cleaned"),
)
_SUB = (
    *("sub_id", "idx", "text", "char_start", "char_end", "n_words", "content_start", "dup_of", "lang", "weight"),
    *("lp_mean", "lp_min", "lp_std"),
)
_FLAGS = ("is_first", "is_last", "is_fragment", "is_negation", "is_meta", "is_boilerplate", "is_unparsed")
_TAG = ("lemma", "label", "text", "char_start", "char_end", "count", "plural", "kind")


class Columns:
    """The tables of some records. The tables share arrays, so that all of them cost little more than one."""

    def __init__(self, records: Sequence[Record], tokenizers: Sequence[str] = ()) -> None:
        self.records = records
        self.tokenizers = tuple(tokenizers)
        self.captions_of: list[Caption] = [c for r in records for c in r.captions]
        self.subs: list[SubCaption] = [s for c in self.captions_of for s in c.sub_captions]
        self.tags_of: list[Tag] = [t for s in self.subs for t in s.tags]
        self.per_record = [len(r.captions) for r in records]
        self.per_caption = [len(c.sub_captions) for c in self.captions_of]
        self.per_sub = [len(s.tags) for s in self.subs]
        # Made here, while the records are in the processor's caches: it is used only after images have been read.
        self.record_captions = self._nested_captions()

    @cached_property
    def words(self) -> list[int]:
        """The number of words of each caption."""
        return [len(c.text.split()) for c in self.captions_of]

    @cached_property
    def distinct_texts(self) -> list[int]:
        """The number of distinct texts that can be drawn from each record."""
        return [r.distinct_texts() for r in self.records]

    # columns by name, with one value per record, caption, sub-caption or tag

    @cached_property
    def _record(self) -> dict[str, pa.Array]:
        return record_arrays(self.records)

    @cached_property
    def _caption(self) -> dict[str, pa.Array]:
        made = _arrays(self.captions_of, schema.CAPTIONS, _CAPTION)
        made["n_words"] = pa.array(self.words, pa.int32())
        made["n_sub_captions"] = pa.array(self.per_caption, pa.int32())
        return made

    @cached_property
    def _sub(self) -> dict[str, pa.Array]:
        made = _arrays(self.subs, schema.sub_captions(), (*_SUB, *_FLAGS))
        for name in self.tokenizers:
            made[f"n_tokens_{name}"] = pa.array([s.n_tokens[name] for s in self.subs], pa.int32())
        made["tag_lemmas"] = self._tag_lemmas()
        return made

    def _tag_lemmas(self) -> pa.Array:
        """Lemmas of the objects of each sub-caption, from the columns of the tags: five times as fast as a loop."""
        is_object = pc.equal(self._tag["kind"], "object")
        before = np.concatenate([[0], np.cumsum(is_object.to_numpy(zero_copy_only=False))])  # objects before a tag
        ends = before[np.concatenate([[0], np.cumsum(self.per_sub, dtype=np.int64)])]
        kind = schema.sub_captions().field("tag_lemmas").type
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), self._tag["lemma"].filter(is_object), type=kind)

    @cached_property
    def _tag(self) -> dict[str, pa.Array]:
        made = _arrays(self.tags_of, schema.TAGS, _TAG)
        attributes = [a for t in self.tags_of for a in t.attributes]
        lengths = [len(t.attributes) for t in self.tags_of]
        made["attributes"] = _lists(lengths, pa.array(attributes, pa.string()), schema.TAGS.field("attributes").type)
        return made

    def _nested_captions(self) -> pa.Array:
        """The captions of each record as a list, with all that is below them: the column of the nested table."""
        captions = schema.records(self.tokenizers).field("captions").type
        subs = captions.value_field.type.field("sub_captions").type
        tags = subs.value_field.type.field("tags").type
        sub = {**self._sub, "tags": _lists(self.per_sub, _struct(self._tag, tags), tags)}
        caption = {**self._caption, "sub_captions": _lists(self.per_caption, _struct(sub, subs), subs)}
        return _lists(self.per_record, _struct(caption, captions), captions)

    # tables

    def nested(self) -> pa.Table:
        """The nested records, `schema.records(tokenizers)`: one row per record, in order."""
        made = {**self._record, "captions": self.record_captions}
        return table_of(made, schema.records(self.tokenizers))

    def images(self) -> pa.Table:
        """One row per record, in order, without texts."""
        subs = [sum(len(c.sub_captions) for c in r.captions) for r in self.records]
        counts = {"n_captions": pa.array(self.per_record, pa.int32()), "n_sub_captions": pa.array(subs, pa.int32())}
        counts["n_texts"] = pa.array(self.distinct_texts, pa.int32())
        return table_of({**self._record, **counts}, schema.IMAGES)

    def captions(self) -> pa.Table:
        """One row per caption, sorted by key."""
        up = _parents(self.per_record)
        above = {name: self._record[name].take(up) for name in ("key", "shard", "split")}
        return by_key(table_of({**self._caption, **above}, schema.CAPTIONS))

    def sub_captions(self) -> pa.Table:
        """One row per sub-caption, sorted by key."""
        up = _parents(self.per_caption)
        above = {name: self._caption[name].take(up) for name in ("caption_id", "generation", "source", "granularity")}
        top = _parents(self.per_record).take(up)
        above |= {name: self._record[name].take(top) for name in ("key", "shard")}
        return by_key(table_of({**self._sub, **above}, schema.sub_captions(self.tokenizers)))

    def tags(self) -> pa.Table:
        """One row per tag, sorted by key."""
        up = _parents(self.per_sub)
        top = _parents(self.per_record).take(_parents(self.per_caption).take(up))
        above = {"sub_id": self._sub["sub_id"].take(up), "key": self._record["key"].take(top)}
        return by_key(table_of({**self._tag, **above}, schema.TAGS))


def record_arrays(records: Sequence[Record]) -> dict[str, pa.Array]:
    """The columns of records themselves, without their captions."""
    return _arrays(records, schema.IMAGES, [name for name in schema.IMAGES.names if not name.startswith("n_")])


def _arrays(items: Sequence[Any], target: pa.Schema, names: Iterable[str]) -> dict[str, pa.Array]:
    # map over attrgetter stays in C: half the time of a comprehension with getattr
    return {name: pa.array(list(map(attrgetter(name), items)), target.field(name).type) for name in names}


def _lists(lengths: Sequence[int], values: pa.Array, kind: pa.DataType) -> pa.Array:
    offsets = pa.array([0, *accumulate(lengths)], pa.int32())
    return pa.ListArray.from_arrays(offsets, values, type=kind)


def _struct(columns: dict[str, pa.Array], kind: pa.DataType) -> pa.Array:
    """The element array of list type `kind`."""
    fields = list(kind.value_type)
    return pa.StructArray.from_arrays([columns[f.name] for f in fields], fields=fields)


def _parents(lengths: Sequence[int]) -> pa.Array:
    """The position of each child's parent."""
    return pa.array(np.repeat(np.arange(len(lengths), dtype=np.int32), lengths), pa.int32())


def table_of(columns: Mapping[str, pa.Array], target: pa.Schema) -> pa.Table:
    """The columns of `target`, in its order; `columns` may have others too."""
    return pa.table([columns[name] for name in target.names], schema=target)


def by_key(table: pa.Table) -> pa.Table:
    """The table sorted by key; rows with equal keys keep their order. A sorted table is returned unchanged."""
    keys = table["key"].combine_chunks()
    if len(keys) < 2 or pc.all(pc.less_equal(keys[:-1], keys[1:])).as_py():
        return table
    order = pc.sort_indices(
        pa.table({"key": keys, "row": pa.array(range(len(keys)), pa.int64())}),
        sort_keys=[("key", "ascending"), ("row", "ascending")],
    )
    return table.take(order)
