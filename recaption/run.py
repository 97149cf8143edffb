"""The main job: generate, annotate and write, overlapped. `generate_only` and `build_only` are its halves."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import orjson
import ray
import yaml

import recaption
from recaption.annotate import Annotator
from recaption.build import BuildSpec, Built, finish_shard
from recaption.config import Pipeline
from recaption.errors import Interrupted, RecaptionError, StoreError, UserError
from recaption.generate.chunks import Listing
from recaption.generate.driver import Job, Pass, Progress, get
from recaption.generate.lease import claim
from recaption.generate.plan import Plan, fingerprint, make_plan
from recaption.progress import Display
from recaption.source import open_source
from recaption.store import Store, open_store
from recaption.types import SCHEMA_VERSION, SourceShard
from recaption.write import Format, ShardEntry, current_build, publish, read_manifest, write_manifest

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


@dataclass(kw_only=True, slots=True)
class _Tally:
    answered: int = 0
    rejected: int = 0
    output_tokens: int = 0
    seconds: float = 0.0
    models: dict[str, Any] = field(default_factory=dict)

    def add(self, progress: Progress) -> None:
        self.answered += progress.answers.total()
        self.rejected += progress.rejects.total()
        self.output_tokens += progress.output_tokens.total()
        seconds = time.monotonic() - progress.started if progress.started else 0.0
        self.seconds += seconds
        self.models[progress.model] = {
            "seconds": round(seconds, 3),
            "answers": dict(progress.answers),
            "rejects": dict(progress.rejects),
            "retries": dict(progress.retries),
            "output_tokens": dict(progress.output_tokens),
            "engine": progress.provenance,
        }


def run(
    pipeline: Pipeline,
    path: Path | None,
    display: Display,
    *,
    half: Half = "run",
    limit: int | None = None,
    takeover: bool = False,
) -> Outcome:
    """Do what is missing of a pipeline, and publish the dataset.

    Raises UserError for wrong input before any model is loaded; EngineDead, StoreError and ShardError for what broke;
    Interrupted after SIGINT or SIGTERM, when everything paid for was put.
    """
    plan = make_plan(pipeline, path)
    annotator = None if half == "generate" else Annotator(pipeline.annotate)  # what is wrong with it shows now
    store = open_store(pipeline.output.path)
    _check_writable(store)
    excluded = _excluded(pipeline)
    started = datetime.now(UTC)
    lease = claim(store, takeover=takeover)
    try:
        store.put("pipeline.yaml", yaml.safe_dump(pipeline.model_dump(mode="json"), sort_keys=False).encode())
        tally = _Tally()
        with _ray(plan), _stop_requested() as stopping:
            job = Job(
                source=open_source(pipeline.source),
                store_url=store.url,
                epoch=lease.epoch,
                excluded=excluded,
                limit=limit,
            )
            builder = _Builder(plan, job, store, annotator, limit) if annotator else None
            try:
                for model in plan.models:
                    work = Pass(model, job, report=display.generating, stopping=stopping, answer=half != "build")
                    last = model is plan.models[-1]
                    for listing in work.run():
                        if last and builder:
                            builder.add(listing)
                    tally.add(work.progress)
                build, changed = builder.finish(display, stopping) if builder else (None, tally.answered > 0)
            finally:
                _put_metrics(store, lease.epoch, half, started, tally)
    finally:
        lease.release()
    counts = read_manifest(store, f"builds/{build}")["counts"] if build else None
    return Outcome(
        store_url=store.url,
        build=build,
        changed=changed or tally.answered + tally.rejected > 0,
        answered=tally.answered,
        seconds=tally.seconds,
        output_tokens=tally.output_tokens,
        reject_share=counts["reject"] / max(1, counts["images"]) if counts else 0.0,
    )


class _Builder:
    """Turns finished shards into a build beside the generation, in Ray tasks, and publishes it at the end.

    A build is named by the fingerprint of what it is made from. When such a build is published already and nothing
    changed, nothing is done; when the answers have changed since, the next revision is made beside it.
    """

    def __init__(self, plan: Plan, job: Job, store: Store, annotator: Annotator, limit: int | None) -> None:
        self._plan, self._store, self._annotator = plan, store, annotator
        base = _build_fingerprint(plan, annotator, limit)
        revision = 0
        self._published: dict[str, str] = {}  # shard -> inputs, of the newest published revision
        self._newest: str | None = None
        while store.exists(f"builds/{_name(base, revision)}/manifest.json"):
            self._newest = _name(base, revision)
            revision += 1
        if self._newest:
            shards = read_manifest(store, f"builds/{self._newest}")["shards"]
            self._published = {shard["name"]: shard["inputs"] for shard in shards}
        self.build = _name(base, revision)
        self._spec = BuildSpec(
            pipeline=plan.pipeline,
            questions=plan.questions,
            source=job.source,
            store_url=job.store_url,
            excluded=job.excluded,
            prefix=f"builds/{self.build}",
            format=_format(plan.pipeline, job.source.kind),
        )
        self._tasks: list[ray.ObjectRef] = []
        self._order: dict[str, int] = {}

    def add(self, listing: Listing) -> None:
        """A shard has all its answers. Returns at once; Ray queues the work behind the cores there are."""
        self._order[listing.shard.id] = listing.shard.number
        inputs = self._published.get(listing.shard.id)
        self._tasks.append(_finish.remote(self._spec, listing.shard, listing.images, inputs))

    def finish(self, display: Display, stopping: Callable[[], bool]) -> tuple[str, bool]:
        """Wait for all shards, write the manifest, publish. Returns the build's name and whether it is new."""
        built = self._collect(display, stopping)
        unchanged = all(b.entry is None for b in built) and {b.shard.id for b in built} == set(self._published)
        if unchanged and self._newest and built:
            if current_build(self._store) != self._newest:
                publish(self._store, self._newest)
            return self._newest, False
        again = [b for b in built if b.entry is None]  # the published build has them, the new one needs them too
        self._tasks = [_finish.remote(self._spec, b.shard, b.limit, None) for b in again]
        built = [*(b for b in built if b.entry is not None), *self._collect(display, stopping)]
        built.sort(key=lambda b: self._order[b.shard.id])
        entries = [b.entry for b in built if b.entry is not None]
        self._write_manifest(entries)
        publish(self._store, self.build)
        return self.build, True

    def _write_manifest(self, entries: list[ShardEntry]) -> None:
        pipeline = self._plan.pipeline
        write_manifest(
            self._store,
            self._spec.prefix,
            name=pipeline.name,
            build=self.build,
            format=self._spec.format,
            image_mode=pipeline.output.images,
            shards=entries,
            generations=[question.generation for question in self._plan.questions],
            require=pipeline.require,
            primary=pipeline.primary,
            sampling=pipeline.output.sampling.model_dump(mode="json"),
            tokenizers=self._annotator.tokenizers,
            provenance=_provenance(self._plan, self._annotator),
        )

    def _collect(self, display: Display, stopping: Callable[[], bool]) -> list[Built]:
        built: list[Built] = []
        waiting, self._tasks = self._tasks, []
        total = len(waiting)
        while waiting:
            if stopping():
                raise Interrupted("stopped on request; run the same command again to continue")
            ready, waiting = ray.wait(waiting, timeout=0.5)
            built.extend(get(ref) for ref in ready)
            display.building(len(built), total)
        return built


@ray.remote(num_cpus=1, max_retries=2)
def _finish(spec: BuildSpec, shard: SourceShard, limit: int | None, published_inputs: str | None) -> Built:
    return finish_shard(spec, shard, limit, published_inputs)


def _name(base: str, revision: int) -> str:
    return f"{base}-r{revision}" if revision else base


def _build_fingerprint(plan: Plan, annotator: Annotator, limit: int | None) -> str:
    """What a build is made from, as far as it is known before a single answer is there."""
    return fingerprint(
        {
            "schema": SCHEMA_VERSION,
            "source": plan.pipeline.source.model_dump(mode="json"),
            "generations": [question.folder for question in plan.questions],
            "annotate": [plan.pipeline.annotate.model_dump(mode="json"), annotator.provenance()],
            "output": plan.pipeline.output.model_dump(mode="json", exclude={"path", "max_reject_share"}),
            "limit": limit,
        }
    )[:12]


def _provenance(plan: Plan, annotator: Annotator) -> dict[str, Any]:
    """What the bytes of a build depend on; nothing that differs from run to run."""
    return {
        "recaption": recaption.__version__,
        "models": {
            model.name: {
                "model": model.config.model,
                "commit": model.commit,
                "dtype": model.config.dtype,
                "quantization": model.config.quantization,
                "max_pixels": model.config.max_pixels,
            }
            for model in plan.models
        },
        "prompts": {
            question.prompt.id: {
                "version": question.prompt.version,
                "sha256": question.prompt.sha256,
                "text": question.prompt.template,
            }
            for question in plan.questions
            if question.prompt
        },
        "annotate": annotator.provenance(),
        "source": plan.pipeline.source.path,
    }


def _format(pipeline: Pipeline, source_kind: str) -> Format:
    if pipeline.output.format != "auto":
        return pipeline.output.format
    return "sidecar" if source_kind == "webdataset" else "parquet"


def _check_writable(store: Store) -> None:
    probe = f".probe-{os.getpid()}"
    try:
        store.put(probe, b"")
        store.delete(probe)
    except StoreError as error:
        raise UserError(f"output.path cannot be written: {error}. Choose another with --set output.path=…") from error


def _excluded(pipeline: Pipeline) -> frozenset[str]:
    if pipeline.source.exclude is None:
        return frozenset()
    import pyarrow.parquet as pq

    try:
        return frozenset(pq.read_table(pipeline.source.exclude, columns=["sha256"])["sha256"].to_pylist())
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"source.exclude {pipeline.source.exclude!r} cannot be read: {error}. "
            "Expected a Parquet file with a column sha256 (hex)"
        ) from error


@contextmanager
def _ray(plan: Plan) -> Iterator[None]:
    """A Ray cluster to work on: the one at RAY_ADDRESS, or one on this machine for as long as the run."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    options: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "configure_logging": True}
    if not os.environ.get("RAY_ADDRESS"):
        engines = max((m.config.cpus * _local_replicas(m.config.replicas) for m in plan.models if m.engine), default=0)
        # Next to the engines there is always a core's worth of room for indexing and writing, or they would starve.
        options["num_cpus"] = max(os.cpu_count() or 1, int(engines) + 1)
        options["object_store_memory"] = 256 * 1024 * 1024  # bytes; no data travels through it
    ray.init(logging_level="ERROR", **options)
    try:
        yield
    finally:
        ray.shutdown()


def _local_replicas(replicas: Any) -> int:
    return 1 if replicas == "auto" else int(replicas)


@contextmanager
def _stop_requested() -> Iterator[Callable[[], bool]]:
    """Tells whether SIGINT or SIGTERM came. The second SIGINT stops at once."""
    requested = False

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal requested
        if requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        requested = True

    try:
        before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: whoever runs us there handles signals
        before = {}
    try:
        yield lambda: requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _put_metrics(store: Store, epoch: int, half: Half, started: datetime, tally: _Tally) -> None:
    """Times, hosts and rates: everything that differs from run to run lives here and nowhere else."""
    name = f"run-{epoch:06d}"
    data = {
        "v": SCHEMA_VERSION,
        "run": name,
        "command": half,
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "recaption": recaption.__version__,
        "captions_per_second": round(tally.answered / tally.seconds, 3) if tally.seconds else None,
        "models": tally.models,
    }
    try:
        store.put(f"metrics/{name}.json", orjson.dumps(data, option=orjson.OPT_INDENT_2))
    except RecaptionError:
        if not _unwinding():
            raise


def _unwinding() -> bool:
    import sys

    return sys.exc_info()[0] is not None
