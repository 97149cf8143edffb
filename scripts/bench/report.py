"""`recaption report` of 100,000 images: three captions each, sub-captions and tags as the annotator makes them.

One shard is annotated; the others are copies of it with keys and letters of their own, so that no text of one is among
those of another. Format sidecar: pictures are read from a tar of the source. Answers, index and metrics are there too.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from write import _jpeg, annotated, images

from recaption import schema
from recaption.inspect.report import write_report
from recaption.types import SCHEMA_VERSION
from recaption.write.columns import Columns

IMAGES, SHARDS, SAMPLES = 100_000, 20, 200
FINGERPRINTS = {"long": "00000000000000a1", "short": "00000000000000a2"}
_LETTERS = "eéèêëēėęěĕẽẻẹếềễểệȅȇ"  # what stands for an e in each shard
_KEY = 9  # digits


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        counts = make(out)
        seconds, size = [], 0
        for _ in range(arguments.pairs):
            started = time.perf_counter()
            written = write_report(str(out), samples=SAMPLES)
            seconds.append(time.perf_counter() - started)
            size = written.size
            assert (written.samples, written.without_thumbnail) == (SAMPLES, 0), written
    return {
        **counts,
        "samples": SAMPLES,
        "report_seconds": statistics.median(seconds),
        "report_mb": size / 1e6,
        "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "runs": seconds,
    }


def make(out: Path, count: int = IMAGES, shards: int = SHARDS) -> dict[str, int]:
    """The output at `out`, with `count` images, and what it holds."""
    per_shard = count // shards
    pictures = [_jpeg(seed) for seed in range(64)]
    source = out.parent / "source.tar"
    source.write_bytes(b"".join(pictures))
    sums = [hashlib.sha256(data).hexdigest() for data in pictures]
    records = [
        replace(record, sha256=sums[i % len(sums)], width=384, height=384, split="train")
        for i, record in enumerate(annotated(images(per_shard, 0)))
    ]
    columns = Columns(records)
    tables = {"images": columns.images(), "captions": columns.captions(), "tags": columns.tags()}
    subs = columns.sub_captions()
    tables["sub_captions"] = subs.append_column("n_tokens_clip", pc.add(subs["n_words"], 2))
    tables["rejects"] = schema.REJECTS.empty_table()
    build = out / "builds" / "bench"
    for number in range(shards):
        name = f"{number:05d}"
        for table, rows in tables.items():
            _write(build / table / f"{name}.parquet", _moved(rows, number, per_shard))
        image_rows = _moved(tables["images"], number, per_shard)
        _write(out / "index" / f"{name}.parquet", _index(image_rows, source, [len(data) for data in pictures]))
        captions = _moved(tables["captions"], number, per_shard)
        for generation, fingerprint in FINGERPRINTS.items():
            answers = _answers(captions.filter(pc.equal(captions["generation"], generation)), image_rows)
            _write(out / "answers" / f"{generation}-{fingerprint}" / f"{name}.parquet", answers)
    counts = {name: tables[name].num_rows * shards for name in ("images", "captions", "sub_captions", "tags")}
    (build / "manifest.json").write_text(json.dumps(_manifest(counts)))
    (out / "dataset").symlink_to("builds/bench")
    _log(out / "metrics")
    return counts


def _moved(table: pa.Table, shard: int, per_shard: int) -> pa.Table:
    """As of another shard: its keys, and a letter of its own for every e, so that spans stay what they are."""
    for name in ("key", "source_key", "caption_id", "sub_id", "dup_of"):
        if name in table.column_names:
            old = table[name]
            number = pc.cast(
                pc.add(pc.cast(pc.utf8_slice_codeunits(old, 0, _KEY), pa.int64()), shard * per_shard), pa.string()
            )
            rest = pc.utf8_slice_codeunits(old, _KEY)
            new = pc.binary_join_element_wise(pc.utf8_lpad(number, _KEY, "0"), rest, "")
            table = table.set_column(table.column_names.index(name), table.schema.field(name), new)
    if "text" in table.column_names:
        new = pc.replace_substring(table["text"], "e", _LETTERS[shard])
        table = table.set_column(table.column_names.index("text"), table.schema.field("text"), new)
    if "shard" in table.column_names:
        new = pa.array([f"{shard:05d}"] * table.num_rows, pa.string())
        table = table.set_column(table.column_names.index("shard"), table.schema.field("shard"), new)
    return table


def _index(rows: pa.Table, source: Path, sizes: list[int]) -> pa.Table:
    offsets = [sum(sizes[:n]) for n in range(len(sizes))]
    place = [n % len(sizes) for n in range(rows.num_rows)]
    made = {
        **{name: rows[name] for name in ("row", "key", "source_key", "sha256")},
        "path": pa.array([str(source)] * rows.num_rows),
        "offset": pa.array([offsets[n] for n in place]),
        "size": pa.array([sizes[n] for n in place]),
        "columns": pa.array(["{}"] * rows.num_rows),
    }
    return _table(made, schema.INDEX, rows.num_rows)


def _answers(captions: pa.Table, rows: pa.Table) -> pa.Table:
    attempt = {"seed": 0, "temperature": 0.6, "finish_reason": "stop", "output_tokens": 130}
    n = captions.num_rows
    made = {
        "key": captions["key"],
        "row": rows["row"],
        "sha256": rows["sha256"],
        "text": captions["text"],
        "finish_reason": pa.array(["stop"] * n),
        "prompt_tokens": pa.array([1300] * n),
        "output_tokens": pa.array([130] * n),
        "prompt_sha256": pa.array(["0" * 64] * n),
        "attempts": pa.array([[attempt]] * n, schema.ANSWERS.field("attempts").type),
    }
    return _table(made, schema.ANSWERS, n)


def _table(columns: dict[str, Any], target: pa.Schema, rows: int) -> pa.Table:
    made = [columns[f.name] if f.name in columns else pa.nulls(rows, f.type) for f in target]
    return pa.table([column.cast(f.type) for column, f in zip(made, target, strict=True)], schema=target)


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="zstd")


def _manifest(counts: dict[str, int]) -> dict[str, Any]:
    total = counts["images"]
    of_images = {"images": total, "ok": total, "partial": 0, "reject": 0, "excluded": 0}
    return {
        "schema_version": SCHEMA_VERSION,
        "name": "bench",
        "build": "bench",
        "format": "sidecar",
        "counts": of_images | {name: counts[name] for name in ("captions", "sub_captions", "tags")},
        "rejects": {},
        "generations": [
            {"id": name, "fingerprint": fingerprint, "asked": total, "answered": total, "rejected": 0, "rejects": {}}
            for name, fingerprint in FINGERPRINTS.items()
        ],
        "provenance": {},
        "shards": [],
    }


def _log(folder: Path) -> None:
    """Two days of a line every five seconds."""
    folder.mkdir()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    with open(folder / "log.jsonl", "w") as log:
        for n in range(2 * 17_280):
            ts = (start + timedelta(seconds=5 * n)).isoformat()
            log.write(json.dumps({"event": "progress", "ts": ts, "captions_per_second": 40 + n % 7}) + "\n")
