"""`recaption.inspect` against hand-written SQL on the same Parquet files: ten million sub-captions of a million images.

    open        the connection with all views, against DuckDB and the views of views.sql over the build
    counts      rows of a table, and averages over two columns
    image       all sub-captions of one image, by its key
    tags        the twenty most frequent objects
    substring   sub-captions with a phrase in them
    duplicates  texts that are there more than once, most frequent first (`--ask duplicates`)

Both sides take turns in one process; the memory is that of a fresh process that does all of ours once. `page` is
`--ask image`, for which there is nothing to compare with.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recaption import schema
from recaption.io.store import Store, open_store
from recaption.resources import shipped
from recaption.write.tables import write_table

PER_SHARD = 5_000  # images
LONG, SHORT = 8, 2  # sub-captions of an image's two captions
TIMES = 7
PHRASE = "red kite"
DUPLICATES = "SELECT text, count(*) AS n FROM sub_captions GROUP BY text HAVING n > 1 ORDER BY n DESC, text LIMIT 20"
QUERIES = {
    "count": "SELECT count(*) FROM sub_captions",
    "averages": "SELECT avg(n_words), avg(weight) FROM sub_captions",
    "image": "SELECT * FROM sub_captions WHERE key = '{key}' ORDER BY caption_id, idx",
    "tags": "SELECT lemma, count(*) AS n FROM objects GROUP BY lemma ORDER BY n DESC, lemma LIMIT 20",
    "substring": f"SELECT count(*) FROM sub_captions WHERE contains(text, '{PHRASE}')",
    "duplicates": DUPLICATES,
}
_COLOURS = """
red blue green yellow white black grey brown pink orange teal olive maroon silver golden pale dark
"""
_NOUNS = """
kite dog cat horse bicycle car bus tree house tower lamp table chair sofa window door bridge boat harbour flower vase
plate cup bottle apple lemon cake book shelf clock mirror carpet cushion curtain hat coat glove boot ball bat racket net
bench statue fountain wall fence gate path river lake hill cloud bird sheep cow goat cart wheel sign
"""
_VERBS = "stands lies leans rests hangs sits waits floats turns shines"
_PLACES = ("beside a", "in front of a", "behind a", "under a", "on a", "near a", "above a", "next to a")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-inspect-") as folder:
        started = time.perf_counter()
        out = make(Path(folder) / "out", arguments.inspect_images)
        made_s = time.perf_counter() - started
        size = sum(file.stat().st_size for file in out.rglob("*.parquet"))
        found = json.loads(_fresh("times", out))
        peak = json.loads(_fresh("memory", out))
    result: dict[str, Any] = {
        "images": arguments.inspect_images,
        "sub_captions": arguments.inspect_images * (LONG + SHORT),
        "parquet_mb": size / 1e6,
        "generated_in_s": made_s,
    }
    for name, (ours, theirs) in found["sides"].items():
        mine, plain = statistics.median(ours), statistics.median(theirs)
        result |= {f"{name}_ms": 1e3 * mine, f"{name}_to_plain_sql": mine / plain}
    return result | {"page_ms": 1e3 * statistics.median(found["page"]), "peak_rss_mib": peak, "runs": found}


def make(out: Path, images: int, seed: int = 0) -> Path:
    """A published build as `recaption build` lays it down, of random sentences; sorted by key, our row groups."""
    shards = [(n, min(PER_SHARD, images - n * PER_SHARD)) for n in range(-(-images // PER_SHARD))]
    build = out / "builds" / "bench"
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        entries = list(pool.map(partial(_write_shard, str(build), seed), *zip(*shards, strict=True)))
    counts = {name: sum(entry["counts"][name] for entry in entries) for name in entries[0]["counts"]}
    manifest = {"schema_version": "1.0", "name": "bench", "build": "bench", "format": "sidecar", "counts": counts}
    manifest |= {"generations": [], "rejects": {}, "shards": entries}
    (build / "manifest.json").write_text(json.dumps(manifest))
    (out / "dataset").symlink_to("builds/bench")
    (out / "metrics").mkdir()
    (out / "metrics" / "run-000001.json").write_text('{"v": "1.2", "run": "run-000001", "command": "run"}')
    return out


def _write_shard(build: str, seed: int, number: int, images: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, number])
    shard, per = f"{number:05d}", LONG + SHORT
    keys = [f"{number:05d}{i:05d}" for i in range(images)]
    texts, first, second = _sentences(rng, images * per)
    lengths = pc.utf8_length(texts).to_numpy().reshape(images, per)
    starts = np.concatenate([_starts(lengths[:, :LONG]), _starts(lengths[:, LONG:])], axis=1)
    grid = np.asarray(texts).reshape(images, per)
    captions = [" ".join(part) for row in grid for part in (row[:LONG], row[LONG:])]

    generations = np.tile(np.repeat(["long", "short"], [LONG, SHORT]), images)
    sub_keys = np.repeat(keys, per)
    idx = np.tile(np.concatenate([np.arange(LONG), np.arange(SHORT)]), images)
    caption_ids = [f"{key}/{generation}/0" for key, generation in zip(sub_keys, generations, strict=True)]
    sub_ids = [f"{caption_id}#{i}" for caption_id, i in zip(caption_ids, idx, strict=True)]
    flags = {name: rng.random(images * per) < 0.03 for name in ("is_fragment", "is_negation", "is_meta")}
    last = np.tile(np.concatenate([np.arange(LONG) == LONG - 1, np.arange(SHORT) == SHORT - 1]), images)
    store = open_store(build)

    def write(table: str, columns: dict[str, Any], fields: pa.Schema, into: Store = store) -> None:
        rows = len(columns["key"])
        arrays = [columns.get(f.name, pa.nulls(rows, f.type)) for f in fields]
        typed = [a if isinstance(a, pa.Array) else pa.array(a, f.type) for a, f in zip(arrays, fields, strict=True)]
        write_table(into, f"{table}/{shard}.parquet", pa.table(typed, schema=fields), sorted_by_key=table != "images")

    sources = np.where(generations == "long", "model:describe_long", "model:describe_short")
    n_words = pc.add(pc.count_substring(texts, " "), 1)
    subs = {
        **{"sub_id": sub_ids, "caption_id": caption_ids, "key": sub_keys, "shard": [shard] * len(sub_ids), "idx": idx},
        **{"generation": generations, "source": sources, "granularity": generations, "text": texts},
        **{"char_start": starts.ravel(), "char_end": (starts + lengths).ravel(), "content_start": starts.ravel()},
        **{"n_words": n_words, "n_tokens_clip": pc.add(n_words, 3), "is_first": idx == 0, "is_last": last, **flags},
        **{"is_boilerplate": np.zeros(len(sub_ids), bool), "weight": rng.random(len(sub_ids)).round(2)},
        "tag_lemmas": list(zip(first, second, strict=True)),
        "lang": ["en"] * len(sub_ids),
    }
    write("sub_captions", subs, schema.sub_captions(["clip"]))
    write(
        "captions",
        {
            **{"caption_id": caption_ids[:: per // 2][: 2 * images], "key": np.repeat(keys, 2), "text": captions},
            **{"shard": [shard] * 2 * images, "split": ["train"] * 2 * images, "finish_reason": ["stop"] * 2 * images},
            **{"generation": np.tile(["long", "short"], images), "granularity": np.tile(["long", "short"], images)},
            **{"source": np.tile(["model:describe_long", "model:describe_short"], images), "lang": ["en"] * 2 * images},
            **{"n_words": [text.count(" ") + 1 for text in captions], "n_sub_captions": np.tile([LONG, SHORT], images)},
        },
        schema.CAPTIONS,
    )
    lemmas = np.stack([first, second], axis=1).ravel()
    tags = {
        **{"sub_id": np.repeat(sub_ids, 2), "key": np.repeat(sub_keys, 2), "lemma": lemmas, "text": lemmas},
        **{"char_start": np.repeat(starts.ravel(), 2), "char_end": np.repeat(starts.ravel() + 4, 2)},
        **{"attributes": [["red"]] * len(lemmas), "plural": np.zeros(len(lemmas), bool)},
        "kind": np.where(rng.random(len(lemmas)) < 0.9, "object", "abstract"),
    }
    write("tags", tags, schema.TAGS)
    write(
        "images",
        {
            **{"key": keys, "source_key": keys, "shard": [shard] * images, "row": range(images)},
            **{"sha256": [key.rjust(64, "0") for key in keys], "status": ["ok"] * images, "split": ["train"] * images},
            **{"width": [640] * images, "height": [480] * images, "n_captions": [2] * images},
            **{"n_sub_captions": [per] * images, "n_texts": [per] * images},
        },
        schema.IMAGES,
    )
    write("rejects", {"key": []}, schema.REJECTS)
    few = {
        **{
            "key": keys[:10],
            "row": range(10),
            "sha256": [key.rjust(64, "0") for key in keys[:10]],
            "text": captions[:10],
        },
        **{"finish_reason": ["stop"] * 10, "prompt_tokens": [0] * 10, "output_tokens": [9] * 10},
        **{"prompt_sha256": ["0" * 64] * 10, "attempts": [[]] * 10},
    }
    for generation in ("long", "short"):  # a few, for their view to be made: no query looks at them
        write(f"answers/{generation}-{'0' * 16}", few, schema.ANSWERS, open_store(str(Path(build).parents[1])))
    counts = {"images": images, "ok": images, "partial": 0, "reject": 0, "excluded": 0, "captions": 2 * images}
    counts |= {"sub_captions": len(sub_ids), "tags": len(lemmas), "words": 0}
    return {"name": shard, "files": [], "counts": counts, "splits": {"train": images, "val": 0}}


def _sentences(rng: np.random.Generator, n: int) -> tuple[pa.Array, np.ndarray, np.ndarray]:
    """Sentences of two objects each, one in twenty of them a common one, and the objects."""
    nouns, verbs, colours = (np.asarray(words.split()) for words in (_NOUNS, _VERBS, _COLOURS))
    first, second = (nouns[(rng.random(n) ** 2 * len(nouns)).astype(int)] for _ in range(2))
    words = [rng.choice(colours, n), first, rng.choice(verbs, n), rng.choice(_PLACES, n), rng.choice(colours, n)]
    parts = [pa.array(part.astype(object), pa.string()) for part in (*words, second)]
    spoken = pc.binary_join_element_wise("A", *parts, " ")
    spoken = pc.binary_join_element_wise(spoken, pa.array([f"No. {i}." for i in rng.integers(0, 1_000, n)]), ", ")
    common = pc.binary_join_element_wise("The background is", parts[0], " ")
    return pc.if_else(pa.array(rng.random(n) < 0.05), common, spoken), first, second


def _starts(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((len(lengths), 1), int), np.cumsum(lengths + 1, axis=1)[:, :-1]], axis=1)


def _fresh(what: str, out: Path) -> str:
    return subprocess.run([sys.executable, __file__, what, str(out)], check=True, capture_output=True, text=True).stdout


def _plain(out: Path) -> Any:
    """The same views as one would type them into DuckDB: those of views.sql without union_by_name, which is slower."""
    import duckdb

    views = (shipped("schemas") / "views.sql").read_text("utf-8").replace(", union_by_name = true", "")
    connection = duckdb.connect()
    connection.execute(views.replace("{build}", str(out / "dataset")).replace("{out}", str(out)))
    return connection


def _times(out: Path) -> dict[str, Any]:
    from recaption.inspect import connect, run_sql
    from recaption.inspect.image_page import print_image
    from recaption.inspect.paths import find

    sides: dict[str, tuple[list[float], list[float]]] = {}

    def both(name: str, ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
        for turn in range(TIMES + 1):
            pair = (_seconds(ours), _seconds(theirs)) if turn % 2 else (_seconds(theirs), _seconds(ours))[::-1]
            if turn:  # the first one warms the page cache
                for times, value in zip(sides.setdefault(name, ([], [])), pair, strict=True):
                    times.append(value)

    both("open", lambda: connect(str(out)).close(), lambda: _plain(out).close())
    page: list[float] = []
    with connect(str(out)) as mine, _plain(out) as plain:
        ((key,),) = plain.execute("SELECT key FROM images ORDER BY hash(key) LIMIT 1").fetchall()
        for name, sql in QUERIES.items():
            sql = sql.replace("{key}", key)
            assert _rounded(run_sql(mine, sql).rows) == _rounded(plain.execute(sql).fetchall()), name
            both(name, partial(run_sql, mine, sql), lambda sql=sql: plain.execute(sql).fetchall())  # type: ignore[misc]
        console = _silent()
        page = [_seconds(lambda: print_image(mine, find(str(out)), key, console)) for _ in range(TIMES)]
    return {"sides": sides, "page": page}


def _rounded(rows: Iterable[tuple[Any, ...]]) -> list[list[Any]]:
    """Averages depend on the order in which threads add."""
    return [[float(f"{value:.9g}") if isinstance(value, float) else value for value in row] for row in rows]


def _memory(out: Path) -> float:
    from recaption.inspect import connect, run_sql
    from recaption.inspect.questions import load

    with connect(str(out)) as connection:
        for sql in QUERIES.values():
            run_sql(connection, sql.replace("{key}", "0000000001"))
        run_sql(connection, load("duplicates").sql, values={"limit": 20})
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _silent() -> Any:
    from rich.console import Console

    return Console(file=io.StringIO(), width=100)


def _seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps({"times": _times, "memory": _memory}[sys.argv[1]](Path(sys.argv[2]))))
