"""The main job: generate, annotate and write, overlapped. `generate_only` and `build_only` are its halves."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import ray
import yaml

from recaption.annotate import Annotator
from recaption.config import Pipeline
from recaption.errors import StoreError, UserError
from recaption.generate import parts
from recaption.generate.breaker import CircuitBreaker
from recaption.generate.driver import Pass
from recaption.generate.lease import claim
from recaption.generate.plan import Plan, Question, make_plan
from recaption.generate.progress import Progress
from recaption.generate.tasks import Job
from recaption.generate.transport import get
from recaption.progress import Display, Watcher
from recaption.run.builder import Builder, failures_in_words, format_of
from recaption.run.cluster import ray_cluster
from recaption.run.metrics import RunLog
from recaption.run.pool import RayPool
from recaption.run.raylet import Raylet
from recaption.run.readers import too_few_shards
from recaption.run.shard import token_encoders
from recaption.run.stop import stop_requested
from recaption.scrub import Scrubber
from recaption.source import open_source
from recaption.store import Store, open_store
from recaption.write import Pruned, prune, read_manifest

Half = Literal["run", "generate", "build"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a run did. `build` is None when only answers were asked for; `changed` is False when nothing was to do."""

    store_url: str
    build: str | None
    changed: bool
    answered: int  # in this run
    seconds: float  # of generating, engine start excluded
    output_tokens: int
    reject_share: float
    sums: tuple[str, ...]  # in words: of the build's images, and per generation what was asked
    unparsed: int = 0  # captions of the build on which a rule failed
    table_failures: Mapping[str, int] = field(default_factory=dict)  # table of the pipeline's own -> captions it lacks
    warnings: tuple[str, ...] = ()
    pruned: Pruned | None = None


@dataclass(kw_only=True, slots=True)
class _Tally:
    answered: int = 0
    rejected: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    sums: list[str] = field(default_factory=list)

    def add(self, progress: Progress) -> None:
        self.answered += progress.answers.total()
        self.rejected += progress.rejects.total()
        self.output_tokens += progress.output_tokens.total()
        self.seconds += progress.seconds
        self.sums += [
            f"{name}: asked {total} = settled before {progress.resumed[name]} + answered {progress.answers[name]} "
            f"+ rejected {progress.rejects[name]}"
            for name, total in progress.total.items()
        ]


def run(
    pipeline: Pipeline,
    path: Path | None,
    display: Display,
    *,
    half: Half = "run",
    limit: int | None = None,
    takeover: bool = False,
    redrive: frozenset[str] = frozenset(),
    prune_others: bool = False,
    beside: Sequence[Watcher] = (),
) -> Outcome:
    """Do what is missing of a pipeline, and publish the dataset. Rejects for a reason in `redrive` are asked again.

    With `prune_others` all other builds are removed once the dataset is published, or was found to be. What the display
    is told, those in `beside` are told too.

    Raises UserError for wrong input before any model is loaded; EngineDead, StoreError and ShardError for what broke;
    Interrupted after SIGINT or SIGTERM, when everything paid for was put.
    """
    plan = make_plan(pipeline, path)
    annotator = None if half == "generate" else Annotator(pipeline.annotate)  # what is wrong with it shows now
    if annotator:
        token_encoders(pipeline.output.token_ids)
    source = open_source(pipeline.source)
    format_of(pipeline, source.kind)
    store = open_store(pipeline.output.path)
    _check_writable(store)
    excluded = _excluded(pipeline)
    lease = claim(store, takeover=takeover, say=display.say)
    try:
        store.remove_temporaries()
        store.put("pipeline.yaml", yaml.safe_dump(pipeline.model_dump(mode="json"), sort_keys=False).encode())
        tally, log = _Tally(), RunLog(store, lease.epoch, half, limit, _scrubber(plan))
        watchers: tuple[Watcher, ...] = (display, log, *beside)

        def report(progress: Progress) -> None:
            for watcher in watchers:
                watcher.generating(progress)
            if builder:
                builder.poll()

        def building(done: int, total: int) -> None:
            for watcher in watchers:
                watcher.building(done, total)

        def stop() -> bool:
            lease.check()
            raylet.check()
            log.touch()
            return stopping()

        log.start(pipeline.name)
        try:
            with ray_cluster(plan), stop_requested() as stopping:
                job = Job(
                    source=source,
                    store_url=store.url,
                    epoch=lease.epoch,
                    excluded=excluded,
                    limit=limit,
                    redrive=redrive,
                )
                builder = Builder(plan, job, store, annotator, limit, RayPool(), log.tell) if annotator else None
                raylet = Raylet()
                for model in plan.models:
                    work = Pass(
                        model,
                        job,
                        report=report,
                        stopping=stop,
                        answer=half != "build",
                        breaker=CircuitBreaker(pipeline.breaker),
                        tell=log.tell,
                    )
                    compacting = []
                    try:
                        for listing in work.run():
                            if builder and model is plan.models[-1]:
                                builder.add(listing)  # which compacts first
                            else:
                                compacting.append(_compact.remote(model.questions, store.url, listing.shard.id))
                    finally:
                        tally.add(work.progress)
                    get(compacting)
                build, changed = builder.finish(building, stop) if builder else (None, tally.answered > 0)
                if build:
                    log.tell("built", build=build, changed=changed)
                manifest = read_manifest(store, f"builds/{build}") if build else None
                warnings = failures_in_words(manifest) if manifest else []
                if manifest and (warning := too_few_shards(manifest, pipeline.output.trainer)):
                    warnings.append(warning)
                for warning in warnings:
                    log.warn(warning)
                pruned = None
                if prune_others and build:
                    lease.check()
                    pruned = prune(store)
        except BaseException as error:
            log.end(error)
            raise
        log.end(None)
    finally:
        with suppress(StoreError):
            lease.release()
    counts = manifest["counts"] if manifest else None
    return Outcome(
        store_url=store.url,
        build=build,
        changed=changed or tally.answered + tally.rejected > 0,
        answered=tally.answered,
        seconds=tally.seconds,
        output_tokens=tally.output_tokens,
        reject_share=counts["reject"] / max(1, counts["images"]) if counts else 0.0,
        sums=(*_images_sum(counts), *tally.sums),
        unparsed=counts.get("unparsed", 0) if counts else 0,
        table_failures=manifest.get("table_failures", {}) if manifest else {},
        warnings=tuple(warnings),
        pruned=pruned,
    )


def _images_sum(counts: dict[str, int] | None) -> tuple[str, ...]:
    """Where the images of a build went, in words; the manifest was checked for it."""
    if counts is None:
        return ()
    states = ("ok", "partial", "reject", "excluded")
    return (f"images in {counts['images']} = " + " + ".join(f"{name} {counts[name]}" for name in states),)


@ray.remote(num_cpus=0, max_retries=2, retry_exceptions=[StoreError])
def _compact(questions: tuple[Question, ...], store_url: str, shard: str) -> None:
    store = open_store(store_url)
    for question in questions:
        parts.compact(store, question, shard)


def _scrubber(plan: Plan) -> Scrubber:
    """For the log: it knows the variables, too, that the pipeline names for keys."""
    named = (model.config.engine_args.get("api_key_env") for model in plan.models)
    return Scrubber(names=tuple(str(name) for name in named if name))


def _check_writable(store: Store) -> None:
    if store.url.startswith("memory://"):
        raise UserError(
            f"output.path {store.url}: every process has a memory of its own; name a folder or an object store"
        )
    probe = f".probe-{os.getpid()}"
    try:
        store.put(probe, b"")
        store.delete(probe)
    except StoreError as error:
        raise UserError(f"output.path cannot be written: {error}. Choose another with --set output.path=…") from error


def _excluded(pipeline: Pipeline) -> frozenset[str]:
    """The sha256 of images that must not be asked about, in lower-case hex."""
    path = pipeline.source.exclude
    if path is None:
        return frozenset()
    import pyarrow.parquet as pq

    try:
        values = pq.read_table(path, columns=["sha256"])["sha256"].to_pylist()
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"source.exclude {path!r} cannot be read: {error}. Expected a Parquet file with a column sha256"
        ) from error
    hashes = {value.hex() if isinstance(value, bytes) else str(value).lower() for value in values}
    for value in hashes:
        if not re.fullmatch("[0-9a-f]{64}", value):
            raise UserError(f"source.exclude {path!r}: {value!r} is not a sha256; expected 64 hex digits or 32 bytes")
    return frozenset(hashes)
