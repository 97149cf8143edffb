"""A run: generate, annotate and write at the same time. `half` restricts it to generating or to building."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import yaml
from rich.markup import escape

from recaption import supervise
from recaption.annotate import Annotator
from recaption.build.builder import Builder, box_warnings, failure_warnings, output_format, too_few_shards
from recaption.build.pool import RayPool
from recaption.build.shard import token_encoders
from recaption.config import Pipeline
from recaption.errors import FAULTS, Interrupted, StoreError
from recaption.formatting import duration
from recaption.generate.breaker import CircuitBreaker
from recaption.generate.chunks import Job
from recaption.generate.driver import Callbacks, ModelPass
from recaption.generate.plan import ModelPlan, Plan, make_plan
from recaption.generate.progress import PassProgress
from recaption.io.store import Store, open_store
from recaption.output import answers as parts
from recaption.output.folder_rule import record_rule
from recaption.output.lease import claim
from recaption.output.locate import read_manifest
from recaption.output.paths import PIPELINE, build_folder
from recaption.output.reports import has_unlisted_shards
from recaption.progress import Display, ProgressListener
from recaption.run import check
from recaption.run.autoscaling import GpuRequest, check_gpu, cpu_hint, expects_gpus
from recaption.run.cluster import Daemons, ray_cluster
from recaption.run.monitor.background import StoreWatch
from recaption.run.monitor.budget import Spend, earlier_gpu_seconds, keep_killed_run
from recaption.run.monitor.builds import copied_again
from recaption.run.monitor.metrics import RunLog
from recaption.run.monitor.notify import Notifier, address
from recaption.scrub import Scrubber
from recaption.source.folder import FolderSource
from recaption.supervise import stop_requested
from recaption.tasks.question import Question
from recaption.threads import waited
from recaption.write import Format, Pruned, prune

Half = Literal["run", "generate", "build"]

_STOPPING = "stopping: finished answers are stored first, which takes up to 30 s; Ctrl-C again stops at once"
_NOT_FLUSHED = "the store does not answer: the last entries of this run are missing from metrics/. Answers are complete"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunResult:
    """What a run did. `build` is None if it only generated; `changed` is False if there was nothing to do."""

    store_url: str
    build: str | None
    changed: bool
    answered: int  # in this run
    seconds: float  # of generating, without the start of engines
    output_tokens: int
    reject_share: float  # of the images, without those with the reason not_in_table
    sums: tuple[str, ...]  # as text: of the build's images, and of each generation
    unparsed: int = 0  # captions of the build on which a rule failed
    table_failures: Mapping[str, int] = field(default_factory=dict)  # custom table -> captions without rows
    generations: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # numbers of each sum: docs/figures.md
    warnings: tuple[str, ...] = ()
    pruned: Pruned | None = None
    unused: tuple[str, ...] = ()  # files of the source that are not used, as text


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
    again: bool = False,
    listeners: Sequence[ProgressListener] = (),
) -> RunResult:
    """Generate what is missing of a pipeline's answers, and publish the dataset.

    `limit` restricts the run to the first images. Rejects for a reason in `retry_reasons` are retried. With
    `prune_others` all other builds are removed once the dataset is up to date; with `again` a new build is written even
    if nothing has changed. `listeners` get the same calls as the display.

    Raises UserError for wrong input before any model is loaded; EngineDead, StoreError and ShardError for failures;
    Interrupted after SIGINT or SIGTERM, once all finished answers are stored.
    """
    try:  # errors of all of these are reported now, even if this half does not need them
        store = check.opened(pipeline.output.path)
        source = check.opened_source(pipeline.source, store)
        plan = make_plan(pipeline, path, source)
        annotator = Annotator(pipeline.annotate)
        check.table_names(plan, annotator)
        token_encoders(pipeline.output.token_ids)
        form = output_format(pipeline.output, source.kind)
        notify_url = address(pipeline.notify)
        watch = StoreWatch(escape(store.url), display.message)
        waited(lambda: check.check_writable(store), silent=watch.update)
        excluded = check.excluded(pipeline.source)
    except FAULTS as error:
        check.raise_all(error, pipeline, path)
    for line in plan.lines():
        display.message(escape(line))
    supervise.at_work()
    lease = claim(store, takeover=takeover, say=display.message)
    try:
        store.remove_temporaries()
        store.put(
            PIPELINE, yaml.safe_dump(pipeline.model_dump(mode="json", exclude={"notify"}), sort_keys=False).encode()
        )
        if isinstance(source, FolderSource):
            record_rule(store, source.rule)
        log = RunLog(store, lease.epoch, half, limit, _scrubber(plan))
        notifier = Notifier(
            notify_url,
            pipeline=pipeline.name,
            out=store.url,
            scrub=_scrubber(plan),
            say=lambda text: display.message(escape(text)),
        )
        all_listeners: tuple[ProgressListener, ...] = (display, log, notifier, *listeners)
        waited(lambda: keep_killed_run(store), silent=watch.update)
        limit_hours = pipeline.budget.gpu_hours
        earlier = waited(lambda: earlier_gpu_seconds(store), silent=watch.update) if limit_hours is not None else 0.0
        spend = Spend(limit_hours, earlier)
        passes: list[PassProgress] = []

        def report(progress: PassProgress) -> None:
            progress = progress.model_copy(update={"store_silent": log.store_silent})
            spend.update(progress)
            for listener in all_listeners:
                listener.generating(progress)
            if builder:
                builder.poll()

        def building(done: int, total: int) -> None:
            for listener in all_listeners:
                listener.building(done, total)

        def built(seconds: float) -> None:
            for listener in all_listeners:
                listener.built(seconds)

        def hint(text: str) -> None:
            display.message(escape(text))
            log.warn(text)

        announced = False

        def stop() -> bool:
            nonlocal announced
            if stopping() and not announced:
                announced = True
                display.message(_STOPPING)
            if silence := watch.update(log.store_silent):
                log.warn(f"the store did not answer for {duration(silence)}")
            lease.check()
            daemons.check()
            log.touch()
            return announced

        log.start(pipeline.name)
        unused = tuple(source.unused())
        for text in unused:
            log.warn(f"not used: {text}")
        try:
            with ray_cluster(plan), stop_requested() as stopping, Daemons() as daemons:
                job = Job(
                    source=source,
                    store_url=store.url,
                    epoch=lease.epoch,
                    excluded=excluded,
                    limit=limit,
                    retry_reasons=retry_reasons,
                    moved=has_unlisted_shards(store, source),
                )
                builder = None
                if half != "generate":
                    builder = waited(
                        lambda: Builder(plan, job, store, annotator, limit, RayPool(built), log.emit, again=again),
                        stop,
                    )
                    # A build with a later revision is only written if answers have changed.
                    if builder.is_first:
                        _say_copies(display, store, builder.build, form, stop)
                had_gpus = False
                for model in plan.models:
                    gpus = GpuRequest(model.config)
                    waits = expects_gpus(model.config, had_gpus=had_gpus)
                    first = cache(partial(_begin_first, model, waits, hint))
                    work = ModelPass(
                        model,
                        job,
                        callbacks=Callbacks(
                            report=report,
                            emit=log.emit,
                            stopping=lambda: stop() or spend.is_over,
                            may_start=partial(_begin, spend, gpus, model, first),
                            released=gpus.reduce,
                        ),
                        answer=half != "build",
                        breaker=CircuitBreaker(pipeline.breaker),
                        expects_gpus=waits,
                    )
                    compactions = RayPool()
                    try:
                        with gpus:
                            for listing in work.run():
                                if builder and model is plan.models[-1]:
                                    builder.add(listing)  # its task compacts the shard first
                                else:
                                    compactions.add(_compact, model.questions, store.url, listing.shard.id)
                    except Interrupted:
                        if not announced:
                            spend.check()
                        raise
                    passes.append(work.progress)
                    had_gpus = had_gpus or work.fleet.had_gpus
                    if any(compactions.collect(lambda done, total: None, stop)) and builder:
                        builder.write_all()
                answered = sum(each.answers for each in passes)
                build, changed = builder.finish(building, stop) if builder else (None, answered > 0)
                if build:
                    log.emit("built", build=build, changed=changed)
                if builder and changed and not builder.is_first:
                    _say_copies(display, store, builder.build, form, stop)
                manifest = waited(lambda: read_manifest(store, build_folder(build)), stop) if build else None
                warnings = [*failure_warnings(manifest), *box_warnings(manifest)] if manifest else []
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
                display.message(_NOT_FLUSHED)
            notifier.ended(error)
            raise
        if not log.end(None):
            display.message(_NOT_FLUSHED)
        notifier.ended(None, build=build, warnings=len(warnings))
    finally:
        with suppress(StoreError):
            lease.release()
    counts = manifest["counts"] if manifest else None
    generations = {id: generation for each in passes for id, generation in each.generations.items()}
    return RunResult(
        store_url=store.url,
        build=build,
        changed=changed or any(generation.fresh for generation in generations.values()),
        answered=answered,
        seconds=sum(each.seconds for each in passes),
        output_tokens=sum(generation.output_tokens for generation in generations.values()),
        reject_share=_reject_share(manifest) if manifest else 0.0,
        sums=(*_images_sum(counts), *(generation.sums_text(id) for id, generation in generations.items())),
        generations={id: generation.sums for id, generation in generations.items()},
        unparsed=counts.get("unparsed", 0) if counts else 0,
        table_failures=manifest.get("table_failures", {}) if manifest else {},
        warnings=tuple(warnings),
        pruned=pruned,
        unused=unused,
    )


def _reject_share(manifest: Mapping[str, Any]) -> float:
    """The share of rejected images. Without those that no table names: nothing was sent for them."""
    counts, unnamed = manifest["counts"], manifest["rejects"].get("not_in_table", 0)
    return float((counts["reject"] - unnamed) / max(1, counts["images"] - unnamed))


def _images_sum(counts: dict[str, int] | None) -> tuple[str, ...]:
    """A line with a build's images as the sum of their states. The sum was checked when the manifest was written."""
    if counts is None:
        return ()
    states = {"ok": "ok", "partial": "partial", "rejected": "reject", "excluded": "excluded"}
    terms = " + ".join(f"{name} {counts[key]:,}" for name, key in states.items())
    return (f"images in {counts['images']:,} = {terms}",)


def _begin(spend: Spend, gpus: GpuRequest, model: ModelPlan, first: Callable[[], None]) -> None:
    """Called each time before engines start; `first` acts once. Raises BudgetSpent, UserError, EngineDead."""
    spend.check()
    check_gpu(model.name, model.config)
    gpus.make()
    first()


def _begin_first(model: ModelPlan, waits: bool, hint: Callable[[str], None]) -> None:
    """Called before the first engine of a pass starts. `waits`: engines wait for GPUs. Raises EngineDead."""
    if not waits and (text := cpu_hint(model.name, model.config)):
        hint(text)
    check.check_server(model)


def _say_copies(display: Display, store: Store, build: str, form: Format, stop: Callable[[], bool]) -> None:
    with suppress(StoreError):
        if text := waited(lambda: copied_again(store, build, form), stop):
            display.message(escape(text))


def _compact(questions: tuple[Question, ...], store_url: str, shard: str) -> bool:
    """Task: compact a shard's parts. Returns whether its answers have changed."""
    store = open_store(store_url)
    return any([parts.compact(store, question, shard) for question in questions])


def _scrubber(plan: Plan) -> Scrubber:
    """The scrubber of the log. It also removes the values of environment variables that the pipeline names for keys."""
    named = (model.config.engine_args.get("api_key_env") for model in plan.models)
    return Scrubber(names=tuple(str(name) for name in named if name))
