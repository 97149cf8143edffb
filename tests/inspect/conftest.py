"""A tiny dataset of six images, on disk as schemas/ says, with hostile texts in it."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from verified import add_table, verification

from recaption import schema

from .browser import FLAGS, NAMES, PATIENCE

BUILD = "0123456789abcdef"


FINGERPRINT = "feedfacefeedface"


HOSTILE = "A [bold]dog[/bold]\x1b[31m sits.\u202e It is brown."


LONG = {
    "a0": "A brown dog sits on a red mat. The dog holds two balls. There is no cat.",
    "a1": HOSTILE,
    "b0": "Two cats sleep on a sofa. A lamp stands beside it.",
    "b1": "A dog runs over the grass.",
}


TAGS = {"dog": ("brown",), "mat": ("red",), "balls": (), "cats": (), "sofa": (), "lamp": (), "grass": ()}


LEMMAS = {"balls": "ball", "cats": "cat"}


def write(path: Path, rows: Iterable[dict[str, Any]], columns: pa.Schema) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=columns), path)


def sha(key: str) -> str:
    return key.encode().hex().ljust(64, "0")


def answer(key: str, text: str, row: int = 0) -> dict[str, Any]:
    return {
        "key": key,
        "row": row,
        "sha256": sha(key),
        "text": text,
        "finish_reason": "stop",
        "prompt_tokens": 300,
        "output_tokens": len(text.split()),
        "prompt_sha256": "p" * 64,
        "attempts": [],
    }


def reject(key: str, shard: str, row: int, reason: str, generation: str | None = None) -> dict[str, Any]:
    return {
        "key": key,
        "source_key": key,
        "shard": shard,
        "row": row,
        "sha256": sha(key),
        "stage": "generate" if generation else "decode",
        "generation": generation,
        "reason": reason,
        "detail": "said [red]no[/red]",
        "attempts": 3 if generation else 0,
    }


def _captions(key: str, shard: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    captions: list[dict[str, Any]] = []
    subs: list[dict[str, Any]] = []
    tags: list[dict[str, Any]] = []
    for generation, text in (("raw", f"photo {key}"), ("long", LONG[key])):
        source = "raw" if generation == "raw" else "qwen:describe_long"
        head: dict[str, Any] = {"caption_id": f"{key}/{generation}/0", "key": key, "shard": shard}
        head |= {"generation": generation, "source": source, "granularity": generation}
        spans = _spans(text)
        captions.append(
            head
            | {"split": "train", "text": text, "n_words": len(text.split()), "n_sub_captions": len(spans)}
            | {"finish_reason": None if generation == "raw" else "stop", "lang": None}
        )
        for idx, (start, end) in enumerate(spans):
            sub_id = f"{key}/{generation}/0#{idx}"
            found = _tags(sub_id, key, text, start, end)
            tags += found
            subs.append(
                head
                | {"sub_id": sub_id, "idx": idx, "text": text[start:end], "char_start": start, "char_end": end}
                | {"n_words": len(text[start:end].split()), "tag_lemmas": [t["lemma"] for t in found]}
                | {"is_first": idx == 0, "is_last": idx == len(spans) - 1, "content_start": start, "weight": 1.0}
                | {"is_negation": " no " in text[start:end], "dup_of": None, "lang": None}
                | {name: False for name in ("is_fragment", "is_meta", "is_boilerplate")}
            )
    return captions, subs, tags


def _spans(text: str) -> list[tuple[int, int]]:
    spans, start = [], 0
    for end in [i + 1 for i, c in enumerate(text) if c == "."] or [len(text)]:
        start += len(text[start:end]) - len(text[start:end].lstrip())
        spans.append((start, end))
        start = end
    return spans


def _tags(sub_id: str, key: str, text: str, start: int, end: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for word, attributes in TAGS.items():
        at = text.find(word, start, end)
        if at >= 0 and sub_id.split("/")[1] == "long":
            lemma = LEMMAS.get(word, word)
            found.append(
                {"sub_id": sub_id, "key": key, "lemma": lemma, "label": None, "text": word, "char_start": at}
                | {"char_end": at + len(word), "attributes": list(attributes), "count": None, "plural": False}
                | {"kind": "object"}
            )
    return found


def write_run(out: Path) -> None:
    """What a run has on disk before it builds: two shards done, one of them with an image rejected."""
    for shard, keys in (("000000", ("a0", "a1", "a2")), ("000001", ("b0", "b1", "b2"))):
        rows = [
            {"row": row, "key": key, "source_key": key, "sha256": sha(key), "path": f"{shard}.tar", "member": None}
            | {"offset": 512, "size": 9, "file_row": None, "url": None, "raw_caption": f"photo {key}", "columns": "{}"}
            | {"reason": None, "detail": None}
            for row, key in enumerate(keys)
        ]
        write(out / "index" / f"{shard}.parquet", rows, schema.INDEX)
        answers = [answer(key, LONG[key], row) for row, key in enumerate(keys) if key in LONG]
        write(out / "answers" / f"long-{FINGERPRINT}" / f"{shard}.parquet", answers, schema.ANSWERS)
    asked = [reject("b2", "000001", 2, "repetition", "long")]
    write(out / "rejects" / f"long-{FINGERPRINT}" / "000001.parquet", asked, schema.REJECTS)
    write(out / "rejects" / "source" / "000000.parquet", [reject("a2", "000000", 2, "truncated")], schema.REJECTS)
    (out / "metrics").mkdir()
    run: dict[str, Any] = {
        "v": "1.0",
        "run": "r1",
        "command": "run",
        "started": "2026-01-02T03:04:05Z",
        "captions_per_second": 2.5,
    }
    (out / "metrics" / "r1.json").write_text(json.dumps(run))
    (out / "metrics" / "torn.json").write_text('{"run": "r')


def write_build(out: Path, build: str = BUILD, *, publish: bool = True) -> Path:
    """A published build over the run's answers."""
    folder = out / "builds" / build
    shards: list[dict[str, Any]] = []
    totals: Counter[str] = Counter()
    for shard, keys, bad in (("000000", ("a0", "a1"), "a2"), ("000001", ("b0", "b1"), "b2")):
        made = [_captions(key, shard) for key in keys]
        captions, subs, tags = ([row for part in made for row in part[i]] for i in range(3))
        images = [
            {"key": key, "source_key": key, "shard": shard, "row": row, "sha256": sha(key), "split": "train"}
            | {"status": "reject" if key == bad else "ok", "reason": "truncated" if key == bad else None, "url": None}
            | {"width": 640, "height": 480, "n_captions": 0 if key == bad else 2}
            | {"n_sub_captions": sum(s["key"] == key for s in subs), "n_texts": sum(s["key"] == key for s in subs)}
            for row, key in enumerate((*keys, bad))
        ]
        rejects = [reject(bad, shard, 2, "truncated" if bad == "a2" else "missing_required")]
        for name, rows, columns in (
            ("images", images, schema.IMAGES),
            ("captions", captions, schema.CAPTIONS),
            ("sub_captions", subs, schema.sub_captions()),
            ("tags", tags, schema.TAGS),
            ("rejects", rejects, schema.REJECTS),
        ):
            write(folder / name / f"{shard}.parquet", rows, columns)
        counts: dict[str, int] = {
            "images": 3,
            "ok": 2,
            "partial": 0,
            "reject": 1,
            "excluded": 0,
            "captions": len(captions),
        }
        counts |= {"sub_captions": len(subs), "tags": len(tags), "words": sum(c["n_words"] for c in captions)}
        totals.update(counts)
        file: dict[str, Any] = {
            "path": f"images/{shard}.parquet",
            "table": "images",
            "split": None,
            "rows": 3,
            "bytes": 7,
        }
        shards.append(
            {
                "name": shard,
                "files": [file | {"sha256": sha("f"), "rows": 3, "bytes": 7}],
                "counts": counts,
                "splits": {"train": 2, "val": 0},
            }
            | {"rejects": {}, "generations": {}, "distinct_texts": {}, "inputs": "i" * 16}
        )
    (folder / "manifest.json").write_text(json.dumps(manifest(build, dict(totals), shards)))
    if publish:
        (out / "dataset").symlink_to(f"builds/{build}")
    return folder


def manifest(build: str, counts: dict[str, int], shards: list[dict[str, Any]]) -> dict[str, Any]:
    long: dict[str, Any] = {
        "id": "long",
        "fingerprint": FINGERPRINT,
        "model": "qwen",
        "kind": "long",
        "prompt": "describe_long",
    }
    long |= {"column": None, "sampling": {"max_tokens": 320}, "asked": 5, "answered": 4, "rejected": 1}
    return {
        "schema_version": "1.0",
        "name": "tiny",
        "build": build,
        "format": "sidecar",
        "images": None,
        "counts": counts | {"bytes": 14},
        "splits": {"train": 4, "val": 0},
        "rejects": {"truncated": 1, "missing_required": 1},
        "generations": [long | {"rejects": {"repetition": 1}}],
        "require": ["long"],
        "primary": ["long", "raw"],
        "tokenizers": [],
        "sampling": {"policy": "weighted", "k": 8, "max_merge": 3, "p_raw": 0.1},
        "distinct_texts": {"4": 4},
        "provenance": {},
        "shards": shards,
    }


@pytest.fixture
def run_only(tmp_path: Path) -> Path:
    out = tmp_path / "in progress"
    out.mkdir()
    write_run(out)
    return out


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """An output folder with everything in it; its name needs quoting in SQL and in globs."""
    out = tmp_path / "it's [o]ut*"
    out.mkdir()
    write_run(out)
    write_build(out)
    return out


@pytest.fixture
def verified(tmp_path: Path) -> Path:
    """A build of the golden output. The second sub-captions of `long` are unsupported, half of `short` is."""
    golden = Path(__file__).parent.parent / "golden"
    for part in ("output", "source"):
        shutil.copytree(golden / part, tmp_path / part, symlinks=True)
    build = tmp_path / "output/builds/parquet"

    def rows(subs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        long = [verification(s, 0.25 if s["idx"] == 1 else 0.9) for s in subs if s["generation"] == "long"]
        short = [verification(s, 0.1 + 0.8 * (n % 2)) for n, s in enumerate(subs) if s["generation"] == "short"]
        return sorted(long + short, key=lambda row: str(row["key"]))

    add_table(build, rows)
    return build


@pytest.fixture
def add_part() -> Callable[..., None]:
    """Puts a part of a chunk that is in progress: add_part(out, "answers", "name", rows)."""

    def put(out: Path, kind: str, name: str, rows: list[dict[str, Any]]) -> None:
        columns = schema.ANSWERS if kind == "answers" else schema.REJECTS
        place = out / kind / f"long-{FINGERPRINT}" / ".parts" / "000001"
        write(place / f"{name}.parquet", rows, columns)

    return put


def columns(connection: duckdb.DuckDBPyConnection, view: str) -> list[tuple[str, str]]:
    rows = connection.execute(f"DESCRIBE {view}").fetchall()
    return [(row[0], row[1]) for row in rows]


def count(connection: duckdb.DuckDBPyConnection, view: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {view}").fetchone()
    assert row is not None
    return int(row[0])


COUNTS = {
    "images": 6,
    "captions": 8,
    "sub_captions": 12,
    "objects": 10,
    "tags": 10,
    "rejects": 2,
    "shards": 2,
    "answers": 4,
    "runs": 1,
}


def upload(out: Path, fs: Any, root: str) -> None:
    """As a run leaves it on a store: a file CURRENT in place of the link."""
    for file in sorted(out.rglob("*")):
        if file.is_file() and (out / "dataset") not in file.parents:
            fs.pipe_file(f"{root}/{file.relative_to(out)}", file.read_bytes())
    if (out / "dataset").exists():
        fs.pipe_file(f"{root}/CURRENT", f"builds/{BUILD}\n".encode())


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[str]:
    """A bucket with the outputs `done` and `going`, and a secret beside them."""
    fs, root = fsspec.filesystem("memory"), f"/{uuid.uuid4().hex}"
    for name in ("done", "going"):
        (tmp_path / name).mkdir()
        write_run(tmp_path / name)
    write_build(tmp_path / "done")
    for name in ("done", "going"):
        upload(tmp_path / name, fs, f"{root}/{name}")
    fs.pipe_file(f"{root}/done2/secret.txt", b"secret")
    yield f"memory:/{root}"
    fs.rm(root, recursive=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        missing = f"none of {', '.join(NAMES)} is installed (sudo apt-get install chromium)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(FLAGS), timeout=PATIENCE)
        yield started
        started.close()
