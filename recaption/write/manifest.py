"""The files that describe a build: the manifest, which is written last, and files for other readers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import Any

import orjson

from recaption.errors import DatasetError
from recaption.io.store import Store
from recaption.output.paths import CARD, CROISSANT, MANIFEST, VIEWS
from recaption.resources import shipped
from recaption.schema import BINARY, FLAT
from recaption.tasks.base import TableSpec
from recaption.tokenids import TokenizerFacts
from recaption.types import SCHEMA_VERSION, Generation
from recaption.write import card, croissant
from recaption.write.entry import FileEntry, GenerationCounts, ShardEntry
from recaption.write.shard import Format, forget_shards
from recaption.write.specs import check_tables, spec_json
from recaption.write.transcode import ImageMode


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildInfo:
    """The contents of the manifest except the shards.

    `sampling` has policy, k, max_merge, p_raw and basis. `provenance` has everything that the bytes depend on, and
    nothing that differs between runs. `token_ids` are the tokenizers whose ids were written, `embeddings` the
    generations whose embeddings were written. `holdout` is the share of images in split val, None if it is unknown.
    `pixels` has how images were checked (`orientation`, `checked`, `limits`).
    `generations` has all generations, also those whose task makes no captions; `tables` are the tables of their tasks.
    """

    name: str
    build: str
    format: Format
    image_mode: ImageMode
    generations: Sequence[Generation]
    require: Sequence[str]
    primary: Sequence[str]
    sampling: Mapping[str, Any]
    tokenizers: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    token_ids: Sequence[TokenizerFacts] = ()
    embeddings: Sequence[str] = ()
    holdout: float | None = None
    pixels: Mapping[str, Any] = field(default_factory=dict)
    tables: Sequence[TableSpec] = ()


def write_manifest(store: Store, prefix: str, shards: Sequence[ShardEntry], info: BuildInfo) -> dict[str, Any]:
    """Describe a build whose shards are all written: `sizes.json`, `_info.json`, `views.sql`, the dataset card
    (`README.md`), `croissant.json`, then `manifest.json`. Returns the manifest.

    Raises DatasetError, and writes nothing, if a sum is wrong.
    """
    entries = list(shards)
    check_sums(entries, info.generations)
    check_tables(entries, info.tables)
    counts: Counter[str] = Counter()
    histogram: Counter[int] = Counter()
    rejects: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    without_ids: Counter[str] = Counter()
    for entry in entries:
        counts.update(entry.counts)
        histogram.update(entry.distinct_texts)
        rejects.update(entry.rejects)
        lost.update(entry.table_failures)
        without_ids.update(entry.token_failures)
    tasks = [_task(g, entries) for g in info.generations if g.granularity is None]
    order = ("images", "ok", "partial", "reject", "excluded", "captions", "sub_captions", "tags", "words", "unparsed")
    head = {
        "schema_version": SCHEMA_VERSION,
        "name": info.name,
        "build": info.build,
        "format": info.format,
        "images": None if info.format == "sidecar" else info.image_mode,
        **({"pixels": {**info.pixels, "turned": sum(entry.turned for entry in entries)}} if info.pixels else {}),
        "counts": {**{key: counts[key] for key in order}, "bytes": sum(entry.bytes for entry in entries)},
        "splits": {split: sum(entry.splits[split] for entry in entries) for split in ("train", "val")},
        **({} if info.holdout is None else {"holdout": info.holdout}),
        "rejects": dict(sorted(rejects.items())),
        **({"table_failures": dict(sorted(lost.items()))} if lost else {}),
        **({"token_failures": dict(sorted(without_ids.items()))} if without_ids else {}),
        "generations": [_generation(g, entries) for g in info.generations if g.granularity is not None],
        **({"tasks": tasks} if tasks else {}),
        **({"tables": [spec_json(spec) for spec in info.tables]} if info.tables else {}),
        "require": list(info.require),
        "primary": list(info.primary),
        "tokenizers": list(info.tokenizers),
        "sampling": dict(info.sampling),
        "distinct_texts": {str(n): images for n, images in sorted(histogram.items())},
        "provenance": dict(info.provenance),
    }
    if info.token_ids:
        head["token_ids"] = [
            facts.to_json() | {"composable": all(entry.composable[facts.name] for entry in entries)}
            for facts in info.token_ids
        ]
    if info.embeddings:
        head["embeddings"] = list(info.embeddings)
    for path, body in loader_files(entries, info.format).items():
        store.put(f"{prefix}/{path}", orjson.dumps(body, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    store.put(f"{prefix}/{VIEWS}", views_of(entries, info.tables).encode())
    manifest = {**head, "shards": [entry.to_json() for entry in entries]}
    data = _render(manifest)
    store.put(f"{prefix}/{CARD}", card.render(manifest).encode())
    store.put(f"{prefix}/{CROISSANT}", croissant.render(manifest, data))
    store.put(f"{prefix}/{MANIFEST}", data)
    forget_shards(store, prefix)
    return manifest


def check_sums(shards: Sequence[ShardEntry], generations: Sequence[Generation]) -> None:
    """Raises DatasetError, naming the shard, if images or answers are unaccounted for."""
    seen: set[str] = set()
    for entry in shards:
        if entry.name in seen:
            raise DatasetError("the shard is listed twice", shard=entry.name)
        seen.add(entry.name)
        counts = entry.counts
        parts = counts["ok"] + counts["partial"] + counts["reject"] + counts["excluded"]
        if counts["images"] != parts:
            raise DatasetError(
                f"{counts['images']} images, but ok {counts['ok']} + partial {counts['partial']} + rejected "
                f"{counts['reject']} + excluded {counts['excluded']} = {parts}",
                shard=entry.name,
            )
        if sum(entry.splits.values()) != entry.samples:
            raise DatasetError(f"{entry.samples} usable images, but splits {dict(entry.splits)}", shard=entry.name)
        for generation in generations:
            _check_asked(generation, entry)


def _check_asked(of: Generation, entry: ShardEntry) -> None:
    generation, asked = of.id, entry.generations.get(of.id)
    if asked is None:
        raise DatasetError(f"no counts of generation {generation}: pass `asked` to write_shard", shard=entry.name)
    missing = asked.asked - asked.answered - asked.rejected
    if missing:
        raise DatasetError(
            f"generation {generation}: asked {asked.asked}, but answered {asked.answered} + rejected {asked.rejected}; "
            + (
                f"{'images' if of.task == 'caption' else 'units'} with neither: {missing}. Run the pipeline again to "
                "generate them"
                if missing > 0
                else f"{-missing} are counted twice"
            ),
            shard=entry.name,
        )
    if of.task == "caption" and asked.asked > entry.counts["images"] - entry.counts["excluded"]:
        raise DatasetError(
            f"generation {generation}: asked {asked.asked}, more than there are images", shard=entry.name
        )


def views_sql(build: str = ".", out: str = "../..") -> str:
    """`schemas/views.sql` for a build at `build` in the output `out`; both paths are relative to where DuckDB runs."""
    text = (shipped("schemas") / "views.sql").read_text("utf-8")
    quoted = {"{build}": build.replace("'", "''"), "{out}": out.replace("'", "''")}
    head, body = text.split("\n\n", 1)  # the head documents the two placeholders
    for placeholder, path in quoted.items():
        body = body.replace(placeholder, path)
    return f"{head}\n\n{body}"


def views_of(entries: Sequence[ShardEntry], tables: Sequence[TableSpec] = ()) -> str:
    """`views.sql` of a build of these shards. Comments describe the `tables` of tasks."""
    return views_sql() + _more_views(entries, {spec.name: spec.description for spec in tables})


def _more_views(entries: Sequence[ShardEntry], descriptions: Mapping[str, str]) -> str:
    """Views of the tables of tasks and the custom tables."""
    known = {*FLAT, *BINARY, "data"}
    names = {file.table for entry in entries[:1] for file in entry.files} - known
    view = (
        "{1}\nCREATE OR REPLACE VIEW \"{0}\" AS SELECT * FROM read_parquet('./{0}/*.parquet', union_by_name = true);\n"
    )
    comments = {name: f"\n-- {name}: {' '.join(text.split())}" for name, text in descriptions.items()}
    return "".join(view.format(name, comments.get(name, "")) for name in sorted(names))


def _generation(generation: Generation, shards: Sequence[ShardEntry]) -> dict[str, Any]:
    asked = sum((entry.generations.get(generation.id, GenerationCounts()) for entry in shards), GenerationCounts())
    return {
        "id": generation.id,
        "fingerprint": generation.fingerprint,
        "model": generation.model,
        "kind": generation.granularity,
        "prompt": generation.prompt,
        "column": generation.column,
        "sampling": asdict(generation.sampling) if generation.sampling else None,
        **({} if generation.task == "caption" else {"task": generation.task}),
        **({"over": list(generation.over)} if generation.over else {}),
        **asked.to_json(),
    }


def _task(generation: Generation, shards: Sequence[ShardEntry]) -> dict[str, Any]:
    """The entry of a generation whose task makes no captions."""
    made = _generation(generation, shards)
    del made["kind"]
    not_asked = {name: made.get(name, 0) for name in ("skipped", "unanswered")}
    return {**made, "task": generation.task, "over": list(generation.over), **not_asked}


def loader_files(shards: Sequence[ShardEntry], format: Format) -> dict[str, Any]:
    """`sizes.json` (read by open_clip in the shards' folder; see its `get_dataset_size`) and `_info.json` (read by
    timm's reader_wds in the given folder; file names are relative to it)."""
    files: dict[str, list[tuple[FileEntry, int]]] = {"train": [], "val": []}
    for entry in shards:
        for file in entry.files:
            if file.table == "data" and file.split:
                files[file.split].append((file, file.rows))
            elif file.table == "data":  # a sidecar has both splits
                for split in files:
                    if entry.splits[split] or split == "train":
                        files[split].append((file, entry.splits[split]))
    splits = {
        split: {
            "name": split,
            "num_samples": sum(rows for _, rows in listed),
            "filenames": [file.path for file, _ in listed],
            "shard_lengths": [rows for _, rows in listed],
        }
        for split, listed in files.items()
        if listed or split == "train"
    }
    made: dict[str, Any] = {"_info.json": {"splits": splits}}
    by_folder: dict[str, dict[str, int]] = {}
    for listed in files.values():
        for file, rows in listed:
            path = PurePosixPath(file.path)
            sizes = by_folder.setdefault(str(path.parent), {})
            sizes[path.name] = sizes.get(path.name, 0) + rows
    made["sizes.json"] = by_folder.get("data", {})
    # For tars only, which open_clip reads; pandas and pyarrow read all files of a folder as one dataset.
    made |= {f"{folder}/sizes.json": sizes for folder, sizes in by_folder.items() if format == "webdataset"}
    return made


def _render(manifest: Mapping[str, Any]) -> bytes:
    """Indented JSON with one line per shard, because there may be thousands."""
    head = orjson.dumps({**manifest, "shards": []}, option=orjson.OPT_INDENT_2)
    start, _, _ = head.rpartition(b"[]")
    lines = b",\n    ".join(orjson.dumps(entry) for entry in manifest["shards"])
    return start + b"[\n    " + lines + b"\n  ]\n}\n"
