"""Small builds with given texts, and exports of them."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from exported_tables import TASKS, Rows
from samples import jpeg
from writing import write_manifest, write_shard

from recaption import schema
from recaption.export.base import Exported, Options
from recaption.export.dataset import Dataset
from recaption.io.store import LocalStore
from recaption.tasks.base import TableSpec
from recaption.text import normalise
from recaption.types import Caption, Generation, Image, Locator, Record, SubCaption
from recaption.write import GenerationCounts, publish

GOLDEN = Path(__file__).parent.parent / "golden"
Texts = Mapping[str, str]  # by generation, with raw

OPENER = "The image shows "
PIXELS = ("data/*.tar", "data/*.idx")
HOSTILE = (
    '=HYPERLINK("http://evil","x"),\'; a "quoted" thing. Another, with a comma.',
    "A line.\nAnother line\nand one more.\n\n",
    "NA",
    "None",
    "null",
    "1984",
    "12.",
    "TRUE",
    "...",
    "bidi \u202eevil\u202c. Zero\u200bwidth \ufeffmark.",
    "A sign says <image> here. Then </s> and <s>.",
    "A man said 'ASSISTANT'. He left.",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 e\u0301\u0301. Family.",
    "x. " * 2_000,
    "word " * 200_000,
)


def record_of(
    row: int, texts: Texts, kinds: Mapping[str, str], shard: str, data: bytes, langs: Mapping[str, str] = {}
) -> Record:
    """A usable record; sub-captions end after full stops, but for "Dr.", and "The image shows " is an opener."""
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
            )
            for idx, span in enumerate(spans)
        ]
        captions.append(
            Caption(
                caption_id=caption_id,
                generation=generation,
                source="raw" if generation == "raw" else f"model:describe_{generation}",
                granularity="raw" if generation == "raw" else kinds[generation],
                text=text,
                lang=langs.get(generation),
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


def table_of(name: str, columns: TableSpec | pa.Schema, rows_of: Rows, records: Sequence[Record]) -> pa.Table:
    """The table of a task, made by the generation my_<name>, or a custom table."""
    target = schema.task_table(name, columns.columns) if isinstance(columns, TableSpec) else None
    rows = [{"key": record.key, "generation": f"my_{name}", **row} for record in records for row in rows_of(record)]
    return pa.Table.from_pylist(rows, schema=target or schema.custom_table(name, columns))


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Dataset]:
    """Writes a published build whose images have these texts, one image per item, `per_shard` in a shard."""

    def make(
        rows: Sequence[Texts],
        *,
        kinds: Mapping[str, str] | None = None,
        per_shard: int = 100,
        format: str = "webdataset",
        tables: Mapping[str, tuple[TableSpec | pa.Schema, Rows]] = {},
        langs: Mapping[str, str] = {},
        **more: Any,
    ) -> Dataset:
        """`tables` are those of tasks and custom ones. Generations in `langs` are translations into a language."""
        kinds = kinds if kinds is not None else {"short": "short", "long": "long"}
        store = LocalStore(tmp_path / "out")
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
            data = [jpeg(row) for row, _ in some]
            records = [
                record_of(row, texts, kinds, shard, d, langs) for (row, texts), d in zip(some, data, strict=True)
            ]
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
        return Dataset.open(str(tmp_path / "out"))

    return make


@pytest.fixture
def without_pixels(build: Any) -> Any:
    """A build without its image files: exports of texts must not need them."""

    def make(*args: Any, **more: Any) -> Any:
        dataset = build(*args, **more)
        for pattern in PIXELS:
            for path in Path(dataset.file("")).glob(pattern):
                path.unlink()
        return dataset

    return make


PLAIN: Texts = {
    "raw": "red kite",
    "short": "A red kite flies.",
    "long": "A red kite flies over dunes. The sky is grey. Waves break at the shore.",
}


@pytest.fixture
def plain() -> Texts:
    return dict(PLAIN)


@pytest.fixture
def hostile() -> list[Texts]:
    return [{"raw": text, "short": text, "long": text} for text in HOSTILE]


@pytest.fixture
def exported(tmp_path: Path) -> Callable[..., tuple[Path, Exported]]:
    """Exports a dataset; returns the folder and the result."""

    def run(name: str, dataset: Dataset, **options: Any) -> tuple[Path, Exported]:
        from recaption.export import load

        dest = tmp_path / "one" / "two" / f"{name}-{len(list(tmp_path.rglob(name + '-*')))}"
        return dest, load(name).export(dataset, str(dest), Options(**options))

    return run


@pytest.fixture
def problems() -> Callable[..., dict[str, str]]:
    """The severity of each kind of problem that a validator finds; without missing images unless they are named."""

    def run(name: str, path: Path | str, **more: Any) -> dict[str, str]:
        from recaption.export import load

        found = list(load(name).validate(str(path), **more))
        assert all(problem.where and problem.what and problem.advice for problem in found)
        kinds = {problem.kind: problem.severity for problem in found}
        return {kind: found for kind, found in kinds.items() if "images" in more or kind != "missing images"}

    return run


@pytest.fixture
def golden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the golden output with its source and a pipeline."""
    shutil.copytree(GOLDEN / "output", tmp_path / "output", symlinks=True)
    shutil.copytree(GOLDEN / "source", tmp_path / "source")
    monkeypatch.chdir(tmp_path)  # the golden index names its files relatively
    pipeline = {
        "name": "golden",
        "source": {"path": "source/*.tar"},
        "models": {"m": {"engine": "column"}},
        "generate": [{"id": "long", "model": "m", "column": "caption"}],
        "output": {"path": "output"},
    }
    (tmp_path / "output" / "pipeline.yaml").write_text(json.dumps(pipeline))
    return tmp_path / "output"
