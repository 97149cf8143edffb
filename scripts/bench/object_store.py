"""100 million images in 20,000 shards on an object store: the time that a run and a training wait for requests.

A small output is made on a simulated S3 (`tests/s3_server.py`). For each step, the requests and the round trips are
counted: the time that it takes longer with a latency, in latencies. From these follows the time for all shards, with
as many steps at a time as the cluster does, and within the rates of S3 for one prefix.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from local_pool import LocalPool, build
from s3_server import READS, S3Server, s3_server
from small_output import answer_all, pipeline_data, write_source

from recaption.build import rekeyed
from recaption.build.shard import BuildSpec, finish_shard
from recaption.build.unique import KeyTable, check_keys
from recaption.generate.chunks import Job, list_one
from recaption.generate.driver import list_ahead
from recaption.generate.plan import Plan
from recaption.io.store import LocalStore, Store, open_store
from recaption.output import answers, paths
from recaption.output.locate import current_build, read_manifest
from recaption.source import open_source
from recaption.types import SourceShard
from recaption.write import sweep

SHARDS, PER_SHARD, IMAGE_BYTES = 20_000, 5_000, 100_000
NODES, CORES, IMAGES_PER_SECOND = 8, 128, 640  # 64 GPUs
LATENCY = 0.03  # seconds of a request
READS_PER_SECOND, WRITES_PER_SECOND = 5_500, 3_500  # of a prefix of S3
PARTS = 400  # of a shard
_MEASURED_LATENCY = 0.2  # far above the time of the simulated store
_SMALL, _LARGE = 3, 9  # shards


@dataclass(frozen=True, kw_only=True)
class Cost:
    requests: Counter[str]  # by operation
    round_trips: float  # of these, one after the other

    def seconds(self, times: float = 1, at_once: int = 1) -> float:
        """The time of this `times`, of which `at_once` run at a time."""
        reads = sum(count for operation, count in self.requests.items() if operation in READS)
        writes = self.requests.total() - reads
        rates = max(reads / READS_PER_SECOND, writes / WRITES_PER_SECOND)
        return times * max(self.round_trips * LATENCY / at_once, rates)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    patch = pytest.MonkeyPatch()
    try:
        with tempfile.TemporaryDirectory() as folder, s3_server(patch) as server:
            return {**_of_runs(server, Path(folder)), **_of_loading(server, Path(folder), patch)}
    finally:
        patch.undo()


def _of_runs(server: S3Server, folder: Path) -> dict[str, Any]:
    small, large = (_Output(server, folder / str(shards), shards) for shards in (_SMALL, _LARGE))
    listing = _cost(server, small.list_one)
    unchanged = _cost(server, small.finish_unchanged)
    compaction = _cost(server, small.compact, prepare=small.put_parts)
    ends = [_cost(server, output.end) for output in (small, large)]
    per_shard = (ends[1].round_trips - ends[0].round_trips) / (_LARGE - _SMALL)
    ahead = list_ahead([CORES] * NODES)
    rerun = max(listing.seconds(SHARDS, ahead), unchanged.seconds(SHARDS, CORES * NODES))
    keys = _seconds_of_keys()
    end = compaction.seconds(PARTS / 40) + ends[0].round_trips * LATENCY + per_shard * LATENCY * SHARDS + keys
    return {
        "listing_requests": listing.requests.total(),
        "listing_round_trips": listing.round_trips,
        "unchanged_shard_requests": unchanged.requests.total(),
        "unchanged_shard_round_trips": unchanged.round_trips,
        "shards_listed_at_a_time": ahead,
        "rerun_minutes": rerun / 60,
        f"compaction_of_{PARTS}_parts_s": compaction.seconds(PARTS / 40),
        "unique_keys_s": keys,
        "end_round_trips_per_shard": per_shard,
        "end_of_run_minutes": end / 60,
        "end_of_run_share": end / (SHARDS * PER_SHARD / IMAGES_PER_SECOND),
    }


class _Output:
    """A complete output with a published build, and what is done to a shard of it."""

    def __init__(self, server: S3Server, folder: Path, shards: int) -> None:
        folder.mkdir()
        write_source(folder, shards=shards, per_shard=3)
        self.url = server.bucket()
        data = pipeline_data(folder, output={"path": self.url, "format": "webdataset"})
        data["annotate"] = {"splitter": "flair_regex"}
        self.plan: Plan = answer_all(data)
        build(data, LocalPool())
        self.store: Store = open_store(self.url)
        self.source = open_source(self.plan.pipeline.source)
        self.shards: list[SourceShard] = list(self.source.shards())
        self.prefix = paths.build_folder(current_build(self.store) or "")
        manifest = read_manifest(self.store, self.prefix)
        self.inputs = {shard["name"]: shard["inputs"] for shard in manifest["shards"]}

    def list_one(self) -> None:
        list_one(self.plan.questions, Job(source=self.source, store_url=self.url, epoch=1), self.shards[0])

    def finish_unchanged(self) -> None:
        spec = BuildSpec(
            pipeline=self.plan.pipeline,
            questions=self.plan.questions,
            source=self.source,
            store_url=self.url,
            excluded=frozenset(),
            prefix=self.prefix,
            format="webdataset",
        )
        shard = self.shards[0]
        assert finish_shard(spec, shard, 3, self.inputs[shard.id]).entry is None

    def put_parts(self) -> None:
        """40 parts of a shard that does not exist, all of the same answer."""
        question = self.plan.questions[0]
        one = next(iter(answers.finished(self.store, question, self.shards[0].id).answers.values()))
        self.store.delete(paths.compacted_file(paths.ANSWERS, question.folder, "many"))
        for number in range(40):
            item = replace(one, row=number, sha256=f"{number:064x}")
            answers.put_part(self.store, question, "many", f"{number:06d}.000001-0000", [item], [])

    def compact(self) -> None:
        answers.compact(self.store, self.plan.questions[0], "many")

    def end(self) -> None:
        """What follows the last shard, except for the manifest, whose size depends on the shards alone."""
        tables = [KeyTable(name=shard.id, path=paths.index_file(shard.id), rows=3) for shard in self.shards]
        assert rekeyed.changed_keys(self.url, tables)[1] == 3 * len(self.shards)
        sweep(self.store, f"{self.prefix}-other", [])


def _of_loading(server: S3Server, folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    from loading import make_build, two_texts

    from recaption.load import CaptionDataset, pieces

    url, made = server.bucket(), make_build(folder, "webdataset")
    store, _ = fsspec.core.url_to_fs(url)
    store.put(str(made / "builds"), f"{url}/builds", recursive=True)
    store.pipe_file(f"{url}/CURRENT", b"builds/b\n")
    per_piece = -(-PER_SHARD // -(-PER_SHARD * IMAGE_BYTES // pieces.PIECE_BYTES))
    patch.setattr(pieces, "PIECE_BYTES", 30_000)
    found = {}
    for name, lanes in (("one_by_one", 0), ("in_pieces", 1)):
        dataset = CaptionDataset(url, policy=two_texts, batch_size=1, epochs=1, lanes=lanes)
        server.forget()
        samples = sum(1 for _ in dataset)
        read = len(dataset._shards.units) if lanes else samples
        scale = 1_000 / (per_piece if lanes else 1)
        found[f"gets_per_1000_samples_{name}"] = server.operations["GET"] / read * scale
    return found


def _seconds_of_keys(shards: int = 2_000) -> float:
    """For all shards, from a tenth of them."""
    rng = np.random.default_rng(0)
    hashes = [np.sort(rng.integers(0, 2**64, PER_SHARD, np.uint64)) for _ in range(shards)]
    tables = [KeyTable(name=str(n), path="", rows=PER_SHARD) for n in range(shards)]
    began = time.monotonic()
    check_keys(LocalStore("/nowhere"), tables, hashes)
    return (time.monotonic() - began) * SHARDS / shards


def _cost(server: S3Server, call: Callable[[], None], prepare: Callable[[], None] = lambda: None) -> Cost:
    prepare()
    call()  # imports, connections
    seconds = []
    for latency in (0.0, _MEASURED_LATENCY):
        prepare()
        server.forget()
        server.latency = latency
        began = time.monotonic()
        call()
        seconds.append(time.monotonic() - began)
        server.latency = 0.0
    requests = Counter(server.operations)
    # A busy machine can make the slower call slower by more than its requests.
    round_trips = min((seconds[1] - seconds[0]) / _MEASURED_LATENCY, requests.total())
    return Cost(requests=requests, round_trips=round(round_trips, 1))
