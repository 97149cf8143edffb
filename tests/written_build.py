"""Writes small builds with given texts and tables."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from exported_tables import TASKS, Rows
from samples import jpeg
from writing import write_manifest, write_shard

from recaption import schema
from recaption.export.dataset import Dataset
from recaption.io.store import LocalStore
from recaption.tasks.base import TableSpec
from recaption.text import normalise
from recaption.types import Caption, Generation, Image, Locator, Record, SubCaption, Tag
from recaption.write import GenerationCounts, publish

Texts = Mapping[str, str]  # by generation, with raw
OPENER = "The image shows "


def record_of(
    row: int, texts: Texts, kinds: Mapping[str, str], shard: str, data: bytes, langs: Mapping[str, str] = {}
) -> Record:
    """A usable record; sub-captions end after full stops, but for "Dr.", and "The image shows " is an opener.

    A caption of granularity region is about the region whose number the name of its generation ends with. A
    generation in `langs` translates the one whose name is the part before its underscore.
    """
    key = f"k{row:04d}"
    captions = []
    for generation, raw in texts.items():
        text = normalise(raw)
        caption_id = f"{key}/{generation}/0"
        spans = [m for m in re.finditer(r"(?:Dr\.|[^.\n])+\.*", text) if m[0].strip()]
        subs = [
            SubCaption(
                sub_id=f"{caption_id}#{idx}",
                idx=idx,
                text=span[0].strip(),
                char_start=span.start() + len(span[0]) - len(span[0].lstrip()),
                char_end=span.start() + len(span[0].rstrip()),
                n_words=len(span[0].split()),
                content_start=span.start() + len(span[0]) - len(span[0].lstrip().removeprefix(OPENER)),
                tags=_tags(span[0], span.start()),
            )
            for idx, span in enumerate(spans)
        ]
        captions.append(
            Caption(
                region_id=f"{key}/r#{generation[-1]}" if kinds.get(generation) == "region" else None,
                caption_id=caption_id,
                generation=generation,
                source="raw" if generation == "raw" else f"model:describe_{generation}",
                granularity="raw" if generation == "raw" else kinds[generation],
                text=text,
                lang=langs.get(generation),
                translated_from=f"{key}/{generation.partition('_')[0]}/0" if generation in langs else None,
                sub_captions=tuple(subs),
            )
        )
    return Record(
        key=key,
        source_key=key,
        shard=shard,
        row=row,
        sha256=hashlib.sha256(data).hexdigest(),
        status="ok",
        split="val" if row % 10 == 9 else "train",
        url=f"https://example.org/{row}.jpg",
        width=48,
        height=40,
        captions=tuple(captions),
    )


def _tags(text: str, start: int) -> tuple[Tag, ...]:
    """Objects: the words "kite", "boat" and "sky"."""
    return tuple(
        Tag(lemma=found[0], text=found[0], char_start=start + found.start(), char_end=start + found.end())
        for found in re.finditer(r"\b(?:kite|boat|sky)\b", text)
    )


def table_of(name: str, columns: TableSpec | pa.Schema, rows_of: Rows, records: Sequence[Record]) -> pa.Table:
    """The table of a task, made by the generation my_<name>, or a custom table."""
    target = schema.task_table(name, columns.columns) if isinstance(columns, TableSpec) else None
    rows = [{"key": record.key, "generation": f"my_{name}", **row} for record in records for row in rows_of(record)]
    return pa.Table.from_pylist(rows, schema=target or schema.custom_table(name, columns))


def write_build(
    out: Path,
    rows: Sequence[Texts],
    *,
    kinds: Mapping[str, str] | None = None,
    per_shard: int = 100,
    format: str = "webdataset",
    tables: Mapping[str, tuple[TableSpec | pa.Schema, Rows]] = {},
    langs: Mapping[str, str] = {},
    picture: Callable[[int], bytes] = jpeg,
    **more: Any,
) -> Dataset:
    """A published build whose images have these texts, one image per item, `per_shard` in a shard.

    `tables` are those of tasks and custom ones. Generations in `langs` are translations into a language.
    """
    kinds = kinds if kinds is not None else {"short": "short", "long": "long"}
    store = LocalStore(out)
    generations = [
        Generation(id=name, model="model", granularity=kind, fingerprint="a" * 16, prompt=f"describe_{name}",  # type: ignore[arg-type]
                   task="translate" if name in langs else "caption")
        for name, kind in kinds.items()
    ]  # fmt: skip
    specs = [spec for spec, _ in tables.values() if isinstance(spec, TableSpec)]
    generations += [
        Generation(id=f"my_{spec.name}", model="model", granularity=None, fingerprint="b" * 16,
                   task=TASKS[spec.name], over=("long",))
        for spec in specs
    ]  # fmt: skip
    entries = []
    for first in range(0, len(rows), per_shard):
        shard = f"{first // per_shard:05d}"
        some = list(enumerate(rows))[first : first + per_shard]
        data = [picture(row) for row, _ in some]
        records = [record_of(row, texts, kinds, shard, d, langs) for (row, texts), d in zip(some, data, strict=True)]
        images = [
            Image(key=r.key, source_key=r.key, shard=shard, row=r.row, sha256=r.sha256,
                  locator=Locator(path="x", size=1))
            for r in records
        ]  # fmt: skip
        pairs = list(zip(images, data, strict=True))
        answered = {name: sum(any(c.generation == name for c in r.captions) for r in records) for name in kinds}
        asked = {n: GenerationCounts(asked=a, answered=a) for n, a in answered.items()}
        asked |= {f"my_{spec.name}": GenerationCounts() for spec in specs}
        custom = {name: table_of(name, columns, made, records) for name, (columns, made) in tables.items()}
        entries.append(
            write_shard(
                store, "builds/b", shard, records, lambda pairs=pairs: pairs, format=format,  # type: ignore[arg-type,misc]
                primary=[*kinds, "raw"], asked=asked, custom_tables=custom, **more,
            )
        )  # fmt: skip
    write_manifest(
        store, "builds/b", name="small", build="b", format=format, image_mode="jpeg", shards=entries,  # type: ignore[arg-type]
        generations=generations, require=[], primary=[*kinds, "raw"], tables=specs,
        sampling={"policy": "weighted", "k": 8, "max_merge": 3, "p_raw": 0.2},
        provenance={"models": {"model": {"model": "org/name"}}},
    )  # fmt: skip
    publish(store, "b")
    return Dataset.open(str(out))
