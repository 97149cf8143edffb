"""The main job: generate, annotate and write, overlapped. `generate_only` and `build_only` are its halves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import ray
import yaml
from rich.markup import escape

from recaption import supervise
from recaption.annotate import Annotator
from recaption.build.builder import Builder, failures_in_words, format_of
from recaption.build.pool import RayPool
from recaption.build.readers import too_few_shards
from recaption.build.shard import token_encoders
from recaption.config import Pipeline
from recaption.errors import StoreError
from recaption.formatting import duration
from recaption.generate.breaker import CircuitBreaker
from recaption.generate.driver import Pass
from recaption.generate.plan import Plan, make_plan
from recaption.generate.progress import Progress
from recaption.generate.tasks import Job
from recaption.generate.transport import get
from recaption.io.store import open_store
from recaption.output import answers as parts
from recaption.output.lease import claim
from recaption.progress import Display, Watcher
from recaption.run import check
from recaption.run.cluster import ray_cluster
from recaption.run.metrics import RunLog
from recaption.run.raylet import Daemons
from recaption.run.stop import stop_requested
from recaption.run.stored import has_unlisted_shards
from recaption.run.telemetry import StoreWatch
from recaption.scrub import Scrubber
from recaption.source.folder import FolderSource
from recaption.source.recorded import record_rule
from recaption.tasks.question import Question
from recaption.threads import waited
from recaption.write import Pruned, prune, read_manifest

Half = Literal["run", "generate", "build"]

_STOPPING = "stopping: answers that are ready are stored first, which takes up to 30 s; Ctrl-C again stops at once"
_NOT_FLUSHED = "the store does not answer: the end of this run is missing in its metrics/. Answers are not affected"


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
    generations: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # numbers of each sum: docs/figures.md
    warnings: tuple[str, ...] = ()
    pruned: Pruned | None = None
    unused: tuple[str, ...] = ()  # what is in the source and not used, in words


@dataclass(kw_only=True, slots=True)
class _Tally:
    answered: int = 0
    rejected: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    sums: list[str] = field(default_factory=list)
    generations: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, progress: Progress) -> None:
        self.answered += progress.answers.total()
        self.rejected += progress.rejects.total()
        self.output_tokens += progress.output_tokens.total()
        self.seconds += progress.seconds
        for generation in progress.state().generations:
            self.sums.append(generation.words)
            self.generations[generation.id] = generation.sums


def run(
    pipeline: Pipeline,
    path: Path | None,
    display: Display,
    *,
    half: Half = "run",
    limit: int | None = None,
    takeover: bool = False,
    retry_reasons: frozenset[str] = frozenset(),
    prune_others: bool = False,
    beside: Sequence[Watcher] = (),
) -> Outcome:
    """Do what is missing of a pipeline, and publish the dataset. Rejects for a reason in `retry_reasons` are retried.

    With `prune_others` all other builds are removed once the dataset is published, or was found to be. What the display
    is told, those in `beside` are told too.

    Raises UserError for wrong input before any model is loaded; EngineDead, StoreError and ShardError for what broke;
    Interrupted after SIGINT or SIGTERM, when everything paid for was put.
    """
    try:  # what is wrong with any of these shows now, also where this half does not need it
        store = check.opened(pipeline.output.path)
        source = check.opened_source(pipeline.source, store)
        plan = make_plan(pipeline, path, source)
        annotator = Annotator(pipeline.annotate)
        token_encoders(pipeline.output.token_ids)
        format_of(pipeline, source.kind)
        watch = StoreWatch(escape(store.url), display.say)
        waited(lambda: check.check_writable(store), silent=watch.look)
        excluded = check.excluded(pipeline.source)
    except check.FAULTS as error:
        check.raise_all(error, pipeline, path)
    supervise.at_work()
    lease = claim(store, takeover=takeover, say=display.say)
    try:
        store.remove_temporaries()
        store.put("pipeline.yaml", yaml.safe_dump(pipeline.model_dump(mode="json"), sort_keys=False).encode())
        if isinstance(source, FolderSource):
            record_rule(store, source.rule)
        tally, log = _Tally(), RunLog(store, lease.epoch, half, limit, _scrubber(plan))
        watchers: tuple[Watcher, ...] = (display, log, *beside)

        def report(progress: Progress) -> None:
            progress.store_silent = log.store_silent
            for watcher in watchers:
                watcher.generating(progress)
            if builder:
                builder.poll()

        def building(done: int, total: int) -> None:
            for watcher in watchers:
                watcher.building(done, total)

        heard = False

        def stop() -> bool:
            nonlocal heard
            if stopping() and not heard:
                heard = True
                display.say(_STOPPING)
            if ended := watch.look(log.store_silent):
                log.warn(f"the store did not answer for {duration(ended)}")
            lease.check()
            daemons.check()
            log.touch()
            return heard

        log.start(pipeline.name)
        unused = tuple(source.unused())
        for words in unused:
            log.warn(f"not used: {words}")
        try:
            with ray_cluster(plan), stop_requested() as stopping:
                job = Job(
                    source=source,
                    store_url=store.url,
                    epoch=lease.epoch,
                    excluded=excluded,
                    limit=limit,
                    retry_reasons=retry_reasons,
                    moved=has_unlisted_shards(store, source),
                )
                daemons = Daemons()
                builder = None
                if half != "generate":
                    builder = waited(lambda: Builder(plan, job, store, annotator, limit, RayPool(), log.tell), stop)
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
                    waited(partial(get, compacting), stop)
                build, changed = builder.finish(building, stop) if builder else (None, tally.answered > 0)
                if build:
                    log.tell("built", build=build, changed=changed)
                manifest = waited(lambda: read_manifest(store, f"builds/{build}"), stop) if build else None
                warnings = failures_in_words(manifest) if manifest else []
                if builder and builder.changed_keys:
                    warnings.append(builder.changed_keys)
                if manifest and (warning := too_few_shards(manifest, pipeline.output.trainer)):
                    warnings.append(warning)
                for warning in warnings:
                    log.warn(warning)
                pruned = None
                if prune_others and build:
                    lease.check()
                    pruned = waited(lambda: prune(store), stop)
        except BaseException as error:
            if not log.end(error):
                display.say(_NOT_FLUSHED)
            raise
        if not log.end(None):
            display.say(_NOT_FLUSHED)
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
        generations=tally.generations,
        unparsed=counts.get("unparsed", 0) if counts else 0,
        table_failures=manifest.get("table_failures", {}) if manifest else {},
        warnings=tuple(warnings),
        pruned=pruned,
        unused=unused,
    )


def _images_sum(counts: dict[str, int] | None) -> tuple[str, ...]:
    """Where the images of a build went, in words; the manifest was checked for it."""
    if counts is None:
        return ()
    states = {"ok": "ok", "partial": "partial", "rejected": "reject", "excluded": "excluded"}
    terms = " + ".join(f"{name} {counts[key]:,}" for name, key in states.items())
    return (f"images in {counts['images']:,} = {terms}",)


@ray.remote(num_cpus=0, max_retries=2, retry_exceptions=[StoreError])
def _compact(questions: tuple[Question, ...], store_url: str, shard: str) -> None:
    store = open_store(store_url)
    for question in questions:
        parts.compact(store, question, shard)


def _scrubber(plan: Plan) -> Scrubber:
    """For the log: it knows the variables, too, that the pipeline names for keys."""
    named = (model.config.engine_args.get("api_key_env") for model in plan.models)
    return Scrubber(names=tuple(str(name) for name in named if name))
