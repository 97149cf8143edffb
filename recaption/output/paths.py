"""The path of every file in an output, relative to the output (or to a build, if a function's docstring states it).

    pipeline.yaml
    index/<source shard>.parquet
    index/.complete/<generation>-<fingerprint>/<source shard>            marks of shards with answers about all units
    answers/<generation>-<fingerprint>/<source shard>.parquet            later answers: <source shard>.1.parquet, …
    answers/<generation>-<fingerprint>/.parts/<source shard>/<chunk>.<epoch>-<n>.parquet
    rejects/…                                                            the same; rejects/source/ for the source's own
    lease/<epoch>.json, .beat, .released
    metrics/progress.json, run-….json, log.jsonl
    source.json                                                          how images of a folder got keys and shards
    builds/<build>/manifest.json, data/…, <table>/<dataset shard>.parquet, README.md, croissant.json, views.sql
    builds/<build>/.shards/<dataset shard>.json                          entries of finished shards until the build ends
    dataset -> builds/<build>                                            CURRENT on object stores, which have no links
    balance.parquet, compare.json, probe/…, report.html                  written by the commands of these names

`source.paths` names source shards, and `build.repack` dataset shards of equal counts. `schemas/README.md` describes the
contents of the files. This module imports only the standard library: readers share it.
"""

from __future__ import annotations

import re
from typing import Final

PIPELINE: Final = "pipeline.yaml"
INDEX: Final = "index"
ANSWERS: Final = "answers"
REJECTS: Final = "rejects"
STORED: Final = (ANSWERS, REJECTS)  # folders with one folder for each generation
LEASE: Final = "lease"
METRICS: Final = "metrics"
PROGRESS: Final = f"{METRICS}/progress.json"
LOG: Final = f"{METRICS}/log.jsonl"
BUILDS: Final = "builds"
DATASET: Final = "dataset"  # a link to the published build
CURRENT: Final = "CURRENT"  # the same on object stores: a file that holds `build_folder(build)`
FOLDER_RULE: Final = "source.json"
BALANCE: Final = "balance.parquet"
COMPARISON: Final = "compare.json"
REPORT: Final = "report.html"
PROBE: Final = "probe"
PROBE_RESULT, PROBE_PLOT, PROBE_RUNS = "probe.json", "probe.svg", "runs.parquet"  # in PROBE, or in another folder

MANIFEST: Final = "manifest.json"  # in a build
DATA: Final = "data"  # in a build
TOKENS: Final = "tokens"  # in a build
EMBEDDINGS: Final = "embeddings"  # in a build
CARD: Final = "README.md"  # in a build
CROISSANT: Final = "croissant.json"  # in a build
VIEWS: Final = "views.sql"  # in a build
ENTRIES: Final = ".shards"  # in a build

SOURCE: Final = "source"  # the folder in `rejects` of images that are unusable when the source is listed
PARTS: Final = ".parts"
_PART = re.compile(r"(\d+)\.(\d+)-(\d+)(?:-[\w]+)?\.parquet$")
_PART_OF_ACTOR = re.compile(r"\d+\.(\d+)-\d+-(\d+)_\d+\.parquet$")


def index_file(shard: str) -> str:
    """The index of a source shard."""
    return f"{INDEX}/{shard}.parquet"


def mark_file(generation: str, shard: str) -> str:
    """The mark of a source shard whose units are all answered or rejected (`output.complete`)."""
    return f"{INDEX}/.complete/{generation}/{shard}"


def index_shard(path: str) -> str:
    """The source shard of an index."""
    return path.rpartition("/")[2].removesuffix(".parquet")


def source_rejects(shard: str) -> str:
    """The rejects of a source shard that were found when it was listed."""
    return f"{REJECTS}/{SOURCE}/{shard}.parquet"


def compacted_file(kind: str, generation: str, shard: str, number: int = 0) -> str:
    """The `number`-th compacted file of a shard; `kind` is ANSWERS or REJECTS, `generation` is `Question.folder`."""
    return f"{kind}/{generation}/{shard}{f'.{number}' if number else ''}.parquet"


def compacted_shard(path: str) -> str:
    """The shard of a compacted file."""
    return path.rpartition("/")[2].partition(".")[0]


def parts_folder(kind: str, generation: str, shard: str = "") -> str:
    """The folder of a shard's parts; without `shard`, that of the parts of all shards."""
    return f"{kind}/{generation}/{PARTS}/{shard}".rstrip("/")


def part_file(kind: str, generation: str, shard: str, name: str) -> str:
    """A part; `name` is `<chunk>.<epoch>-<n>`, in parts of an actor `<chunk>.<epoch>-<n>-<actor>_<assignment>`."""
    return f"{parts_folder(kind, generation, shard)}/{name}.parquet"


def part_numbers(path: str) -> tuple[int, int, int] | None:
    """Chunk, epoch and number of a part; None for any other file."""
    match = _PART.search(path)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None


def part_actor(path: str) -> tuple[int, int] | None:
    """Epoch and number of the actor that stored a part; None for any other file."""
    match = _PART_OF_ACTOR.search(path)
    return (int(match[1]), int(match[2])) if match else None


def lease_file(epoch: int, kind: str) -> str:
    """A file of a run's lease: `json` (its holder), `beat` (a sign that the holder is alive) or `released`."""
    return f"{LEASE}/{epoch:06d}.{kind}"


def lease_epoch(path: str) -> int | None:
    """The epoch in the path of a lease's `json` file; None for any other file."""
    match = re.fullmatch(rf"{LEASE}/(\d+)\.json", path)
    return int(match[1]) if match else None


def run_file(name: str) -> str:
    """The numbers of a run: `progress` or `run-<…>`."""
    return f"{METRICS}/{name}.json"


def log_piece(run: str, number: int) -> str:
    """A piece of a run's log on object stores, which cannot append."""
    return f"{METRICS}/log-{run}-{number:04d}.jsonl"


def build_folder(build: str) -> str:
    """The folder of a build."""
    return f"{BUILDS}/{build}"


def entry_file(shard: str) -> str:
    """In a build that is not finished: the entry of a shard for the manifest."""
    return f"{ENTRIES}/{shard}.json"


def table_file(table: str, shard: str) -> str:
    """In a build: the file of a flat table."""
    return f"{table}/{shard}.parquet"


def data_folder(split: str | None = None) -> str:
    """In a build: the folder of the data files of a split. Those of `train` are in the folder above, as readers expect.
    With None, the folder of files that hold all splits."""
    return f"{DATA}/{split}" if split not in (None, "train") else DATA


def data_file(shard: str, suffix: str, split: str | None = None) -> str:
    """In a build: a data file."""
    return f"{data_folder(split)}/{shard}.{suffix}"


def tokens_file(data: str, tokenizer: str) -> str:
    """In a build: the token ids for a data file: `data/val/00000.tar` -> `tokens/<tokenizer>/val/00000.bin`.

    Not in `data/`: pandas and pyarrow open that folder as a whole, and fail at a file that is not Parquet.
    """
    return f"{TOKENS}/{tokenizer}/{data.removeprefix(f'{DATA}/').rpartition('.')[0]}.bin"


def embeddings_file(generation: str, shard: str) -> str:
    """In a build: the embeddings of a generation for a shard, with all splits."""
    return f"{EMBEDDINGS}/{generation}/{shard}.npy"
