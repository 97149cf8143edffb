"""Turns finished shards into a published build, concurrently with generation."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import recaption
from recaption.annotate import Annotator
from recaption.build import rekeyed
from recaption.build.pool import Pool
from recaption.build.repack import EarlyCuts, Packing, Survey, cut, identity, pack, survey
from recaption.build.results import specs_of
from recaption.build.shard import BuildSpec, Built, finish_shard, profile_of, token_encoders
from recaption.build.unique import KeyTable, check_keys
from recaption.config import Output, Pipeline, Trainer
from recaption.errors import ConfigError, DatasetError
from recaption.formatting import number_of
from recaption.generate.chunks import Job, ShardListing
from recaption.generate.events import Emit, ignore_event
from recaption.generate.plan import Plan, fingerprint
from recaption.io.store import Store
from recaption.output import paths
from recaption.output.locate import current_build, read_manifest
from recaption.scrub import public_text
from recaption.tasks import cleaning
from recaption.tasks.question import Question
from recaption.threads import waited
from recaption.types import SCHEMA_VERSION
from recaption.write import BuildInfo, Format, ShardEntry, publish, sweep, write_manifest

Report = Callable[[int, int], None]
_Entries = tuple[list[ShardEntry] | None, dict[str, Any]]
_MANY_BEYOND = 0.3  # share of the boxes above which a warning is given


class Builder:
    """Builds finished shards in the tasks of a pool while generation runs, and publishes the build at the end.

    A build is named by the fingerprint of its inputs. If that build is already published and nothing has changed,
    nothing is done. If the answers have changed since, or with `again`, the next revision is built next to it.
    By default, a dataset shard corresponds to a source shard and is written once that shard is complete. With
    `output.samples_per_shard`, a dataset shard is written as soon as all source shards up to its end are complete. If a
    build is already published, writing starts with the first source shard whose answers have changed: from then on it
    is certain that the next revision is needed. It starts at once if a killed run has begun to write that revision.
    """

    def __init__(
        self,
        plan: Plan,
        job: Job,
        store: Store,
        annotator: Annotator,
        limit: int | None,
        pool: Pool,
        emit: Emit = ignore_event,
        *,
        again: bool = False,
    ) -> None:
        self._plan, self._store, self._annotator, self._pool, self._emit = plan, store, annotator, pool, emit
        size = plan.pipeline.output.samples_per_shard
        self._size = None if size == "source" else size
        base = _build_fingerprint(plan, annotator, job.excluded, limit)
        revision, begun = _newest_revision(store, base)
        self._newest = None if revision is None else _name(base, revision)
        self._published: dict[str, str] = {}  # shard -> inputs, of the newest finished revision
        self._published_inputs = ""  # of all source shards together, if that revision was repacked
        if self._newest and not again:
            manifest = read_manifest(store, paths.build_folder(self._newest))
            self._published = {shard["name"]: shard["inputs"] for shard in manifest["shards"]}
            self._published_inputs = manifest["provenance"].get("source_inputs", "")
        self.build = _name(base, 0 if revision is None else revision + 1)
        self.is_first = revision is None
        """Whether no build with these settings is finished, so that a new one is written in any case."""
        self._spec = BuildSpec(
            pipeline=plan.pipeline,
            questions=plan.questions,
            source=job.source,
            store_url=job.store_url,
            excluded=job.excluded,
            prefix=paths.build_folder(self.build),
            format=output_format(plan.pipeline.output, job.source.kind),
        )
        self._shared = pool.share(self._spec)
        self._source_keys = job.source.key_rule
        self._indexes: list[KeyTable] = []
        self.changed_keys: str | None = None  # a warning that `finish` sets: keys differ from the last build
        self._order: dict[str, int] = {}
        self._images = 0
        # If a build is already published, usually nothing has changed: samples are not counted and nothing is written.
        # A killed run that has begun the next one has compacted the answers that had changed. Shards that correspond to
        # source shards are compared one by one.
        self._changed = again or self._newest is None or (begun and self._size is not None)
        self._early = EarlyCuts(self._size) if self._size else None
        self._made: list[Survey | Built | ShardEntry] = []  # results of tasks that were taken from the pool
        self._started: set[tuple[str, str]] = set()  # name and inputs of dataset shards that are cut early

    def add(self, listing: ShardListing) -> None:
        """Add a shard that has all its answers. Returns at once."""
        shard = listing.shard
        self._order[shard.id] = shard.number
        self._indexes.append(KeyTable(name=shard.id, path=paths.index_file(shard.id), rows=listing.images))
        self._images += listing.images
        if self._size:
            self._pool.add(survey, self._shared, shard, listing.images, self._changed)
        else:
            published = None if self._changed else self._published.get(shard.id)
            self._pool.add(finish_shard, self._shared, shard, listing.images, published)

    def poll(self) -> None:
        """Keep the pool busy. Raises the error of a failed task."""
        self._pool.poll()
        made = self._pool.take()
        self._take(made)
        for counted in made:
            if self._early is not None and isinstance(counted, Survey) and counted.samples is not None:
                for packing in self._early.add(counted):
                    self._pack(packing)

    def _take(self, made: list[Survey | Built | ShardEntry]) -> None:
        """Keep results of tasks."""
        self._made += made
        if self._changed or any(_is_changed(each) for each in made):
            self.write_all()

    def write_all(self) -> None:
        """Call when answers have changed: writes, or counts, the shards that were left out as already published."""
        self._changed = True
        unchanged = [each for each in self._made if _is_left_out(each)]
        self._made = [each for each in self._made if not _is_left_out(each)]
        for each in unchanged:
            if isinstance(each, Survey):
                self._pool.add(survey, self._shared, each.shard, each.limit, True)
            elif isinstance(each, Built):
                self._pool.add(finish_shard, self._shared, each.shard, each.limit, None)

    def _pack(self, packing: Packing) -> None:
        """Start writing a dataset shard of equal counts, unless it was started before."""
        if (shard := (packing.name, packing.inputs)) not in self._started:
            self._started.add(shard)
            self._pool.add(pack, self._shared, packing, first=True)

    def finish(self, building: Report, stopping: Callable[[], bool]) -> tuple[str, bool]:
        """Wait for all shards, write the manifest, publish. Returns the build's name and whether it is new.

        `building` is called with the number of dataset shards written and the total.
        """
        entries, provenance = (self._repacked if self._size else self._by_source)(building, stopping)
        if entries is None:
            assert self._newest is not None
            newest = self._newest
            if waited(lambda: current_build(self._store), stopping) != newest:
                waited(lambda: publish(self._store, newest), stopping)
            return newest, False
        written = sum(entry.counts["images"] for entry in entries)
        if written != self._images:
            raise DatasetError(f"{self._images} images were listed, but {written} are in the build")
        for entry in entries:
            log_failures(entry, self._emit)
        self._pool.add(rekeyed.changed_keys, self._spec.store_url, self._indexes)
        [(published, shared, changed)] = self._pool.collect(lambda done, total: None, stopping)
        self.changed_keys = rekeyed.warning(published, shared, changed, self._source_keys)

        def put_and_publish() -> None:
            sweep(self._store, self._spec.prefix, entries)
            self._write_manifest(entries, provenance)
            publish(self._store, self.build)

        waited(put_and_publish, stopping)
        return self.build, True

    def _by_source(self, building: Report, stopping: Callable[[], bool]) -> _Entries:
        """The entries of the dataset shards (None if nothing changed), and the build's other inputs: here none."""

        def report() -> None:
            building(len(self._made), len(self._order))

        self._collect(report, stopping)
        if not self._changed and self._made and self._order.keys() == self._published.keys():
            return None, {}
        self.write_all()
        self._collect(report, stopping)
        built = [each for each in self._made if isinstance(each, Built)]
        built.sort(key=lambda b: self._order[b.shard.id])
        entries = [b.entry for b in built if b.entry is not None]
        if len(entries) != len(self._order):
            raise DatasetError(f"{len(self._order)} shards were listed, but {len(entries)} are in the build")
        self._check_keys(built, stopping)
        return entries, {}

    def _repacked(self, building: Report, stopping: Callable[[], bool]) -> _Entries:
        """As `_by_source`, for shards of equal counts."""
        assert self._size is not None
        total = -(-self._images // self._size)  # at most, until all samples are counted

        def report() -> None:
            building(min(total, sum(isinstance(each, ShardEntry) for each in self._made)), total)

        def collect() -> list[Survey]:
            self._collect(report, stopping)
            surveys = [each for each in self._made if isinstance(each, Survey)]
            return sorted(surveys, key=lambda s: self._order[s.shard.id])

        surveys = collect()
        if surveys and identity(surveys) == self._published_inputs:
            building(len(self._published), len(self._published))
            return None, {}
        self.write_all()
        surveys = collect()
        self._check_keys(surveys, stopping)
        packings = cut(surveys, self._size)
        total = len(packings)
        for packing in packings:
            self._pack(packing)
        collect()
        written = {(each.name, each.inputs): each for each in self._made if isinstance(each, ShardEntry)}
        entries = [written[packing.name, packing.inputs] for packing in packings]
        return entries, {"samples_per_shard": self._size, "source_inputs": identity(surveys)}

    def _collect(self, report: Callable[[], None], stopping: Callable[[], bool]) -> None:
        """Wait for all tasks, including those that `_take` starts because of their results."""

        def take(done: int, total: int) -> None:
            self._take(self._pool.take())
            report()

        while made := self._pool.collect(take, stopping):
            self._take(made)
        report()

    def _check_keys(self, shards: Sequence[Built | Survey], stopping: Callable[[], bool]) -> None:
        tables = [KeyTable(name=s.shard.id, path=paths.index_file(s.shard.id), rows=s.limit) for s in shards]
        hashes = [shard.keys for shard in shards if shard.keys is not None]
        waited(lambda: check_keys(self._store, tables, hashes), stopping)

    def _write_manifest(self, entries: list[ShardEntry], provenance: dict[str, Any]) -> None:
        pipeline = self._plan.pipeline
        holdout, sampling = pipeline.output.holdout, pipeline.output.sampling
        info = BuildInfo(
            name=pipeline.name,
            build=self.build,
            format=self._spec.format,
            image_mode=pipeline.output.images,
            generations=[question.generation for question in self._plan.questions],
            tables=[*specs_of(self._plan.questions).values(), *self._annotator.table_specs],
            require=pipeline.require,
            primary=pipeline.primary,
            sampling=sampling.model_dump(mode="json") | {"basis": sampling.basis},
            tokenizers=self._annotator.tokenizers,
            provenance={
                **_provenance(self._plan, self._annotator),
                "keys": self._source_keys,
                **provenance,
            },
            embeddings=[question.id for question in self._plan.questions if question.output.embeddings],
            token_ids=[encoder.facts for encoder in token_encoders(pipeline.output.token_ids)],
            holdout=holdout.fraction if holdout else 0.0,
            pixels=pixel_checks(pipeline),
        )
        write_manifest(self._store, self._spec.prefix, entries, info)


def _is_left_out(made: Survey | Built | ShardEntry) -> bool:
    """Whether a source shard was neither written nor counted, because the published build may be up to date."""
    return (isinstance(made, Built) and made.entry is None) or (isinstance(made, Survey) and made.samples is None)


def _is_changed(made: Survey | Built | ShardEntry) -> bool:
    """Whether the published build does not have a source shard's answers."""
    return (isinstance(made, Built) and made.entry is not None) or (isinstance(made, Survey) and made.changed)


def pixel_checks(pipeline: Pipeline) -> dict[str, Any]:
    """How images are inspected before generation (`recaption.source.base.Row.read_header`)."""
    limits = pipeline.source.limits.model_dump(mode="json")
    return {"orientation": pipeline.source.orientation, "checked": ["header", "end", "limits"], "limits": limits}


def log_failures(entry: ShardEntry, emit: Emit) -> None:
    """Log the captions of a dataset shard on which annotation or a tokenizer failed."""
    for failure in entry.failures:
        where = {"shard": entry.name, "key": failure.caption_id.partition("/")[0], "caption_id": failure.caption_id}
        if failure.tokenizer is not None:
            emit("token_ids_failed", "warning", tokenizer=failure.tokenizer, **where, detail=failure.error)
        elif failure.table is None:
            emit("caption_unparsed", "warning", **where, detail=failure.error)
        else:
            emit("table_failed", "warning", table=failure.table, **where, detail=failure.error)
    failed = entry.counts.get("unparsed", 0) + sum((*entry.table_failures.values(), *entry.token_failures.values()))
    not_named = failed - len(entry.failures)
    if not_named > 0:
        emit("failures_not_named", "warning", shard=entry.name, count=not_named)


def failure_warnings(manifest: dict[str, Any]) -> list[str]:
    """Warnings about the captions of a build on which annotation or a tokenizer failed, if any."""
    warnings = []
    if unparsed := manifest["counts"].get("unparsed", 0):
        captions = number_of(unparsed, "caption")
        warnings.append(
            f"{captions} could not be parsed and became one sub-caption each, without tags (is_unparsed in "
            "sub_captions). The events caption_unparsed in metrics/log*.jsonl name the captions and the errors"
        )
    for table, lost in manifest.get("table_failures", {}).items():
        captions = number_of(lost, "caption")
        warnings.append(
            f"tables: {table} failed on {captions}, which have no rows in it. The events table_failed in "
            "metrics/log*.jsonl name the captions and the errors"
        )
    for tokenizer, lost in manifest.get("token_failures", {}).items():
        captions = number_of(lost, "caption")
        warnings.append(
            f"output.token_ids: {tokenizer} failed on texts of {captions}, which have no stored ids; the loader "
            "tokenises them. The events token_ids_failed in metrics/log*.jsonl name the captions and the errors"
        )
    return warnings


def box_warnings(manifest: dict[str, Any]) -> list[str]:
    """A warning for each generation with many boxes beyond the image: its model probably does not write boxes in the
    units of its `format`."""
    warnings = []
    for task in manifest.get("tasks", ()):
        boxes, beyond = (task.get("counts", {}).get(name, 0) for name in ("boxes", "boxes_beyond"))
        if boxes and beyond / boxes >= _MANY_BEYOND:
            warnings.append(
                f"generate {task['id']}: of {number_of(boxes, 'box', 'boxes')}, {number_of(beyond, 'ends', 'end')} "
                f"beyond the image. The model {task['model']} probably does not write boxes in the units of the "
                "generation's `format`: compare the formats in docs/tasks.md"
            )
    return warnings


def output_format(output: Output, source_kind: str) -> Format:
    """The format that the dataset is written in.

    Raises ConfigError for a sidecar with `samples_per_shard`: row i of a sidecar belongs to sample i of a source shard.
    """
    configured, size = output.format, output.samples_per_shard
    if source_kind == "classes" and configured not in ("auto", "sidecar"):
        raise ConfigError(
            f"output.format is {configured}, which has images, but a source of classes has none. Set it to sidecar"
        )
    automatic: Format = "sidecar" if source_kind in ("webdataset", "classes") else "parquet"
    found: Format = automatic if configured == "auto" else configured
    if found == "sidecar" and size != "source":
        meaning = "sidecar for a source of tars" if configured == "auto" else "one row for each sample of a source tar"
        raise ConfigError(
            f"output.samples_per_shard is {size}, but output.format is {configured} ({meaning}). A sidecar has no "
            "images and is read together with the source's shards, so it has the same shards. Set output.format to "
            "webdataset or parquet, or remove output.samples_per_shard"
        )
    return found


def _name(base: str, revision: int) -> str:
    return f"{base}-r{revision}" if revision else base


def _newest_revision(store: Store, base: str) -> tuple[int | None, bool]:
    """The newest revision of the finished builds with this name, None if there is none; and whether a newer one exists.

    Earlier ones may have been removed (`--prune`), so all existing folders are checked.
    """
    named = (re.fullmatch(rf"{re.escape(base)}(?:-r(\d+))?", folder) for folder in store.folders(paths.BUILDS))
    revisions = sorted((int(match[1] or 0) for match in named if match), reverse=True)
    is_finished = (store.exists(f"{paths.build_folder(_name(base, r))}/{paths.MANIFEST}") for r in revisions)
    newest = next((r for r, finished in zip(revisions, is_finished, strict=True) if finished), None)
    return newest, newest is not None and newest != revisions[0]


def _build_fingerprint(plan: Plan, annotator: Annotator, excluded: frozenset[str], limit: int | None) -> str:
    """Hash of the inputs of a build that are known before the first answer."""
    return fingerprint(
        {
            "schema": SCHEMA_VERSION,
            "source": plan.pipeline.source.model_dump(mode="json"),
            "generations": [_generation(question) for question in plan.questions],
            "cleaning": cleaning.VERSION,
            "annotate": [plan.pipeline.annotate.model_dump(mode="json"), annotator.provenance()],
            "output": plan.pipeline.output.model_dump(mode="json", exclude=_not_identity(plan.pipeline)),
            **_token_ids(plan.pipeline),
            **_task_settings(plan),
            "excluded": hashlib.sha256("".join(sorted(excluded)).encode()).hexdigest() if excluded else None,
            "limit": limit,
        }
    )[:12]


def _not_identity(pipeline: Pipeline) -> set[str]:
    """Output settings that do not affect the bytes of a build. Unused settings do not change the name of a build."""
    unused = set() if pipeline.output.profile else {"profile", "profile_map", "profile_fill"}
    unused |= set() if pipeline.output.token_ids else {"token_ids"}
    unused |= set() if pipeline.output.samples_per_shard != "source" else {"samples_per_shard"}
    return {"path", "max_reject_share", "trainer"} | unused


def _token_ids(pipeline: Pipeline) -> dict[str, Any]:
    """A tokenizer can change under the same name or file, so its behaviour is part of the identity."""
    made = [[encoder.facts.name, encoder.facts.sha256] for encoder in token_encoders(pipeline.output.token_ids)]
    return {"token_ids": made} if made else {}


def _generation(question: Question) -> dict[str, Any]:
    """The answers of a generation, and what else a build takes from it: names in its rows, and in which order it reads
    which others."""
    generation = question.generation
    return {
        "answers": question.folder,
        "model": generation.model,
        "prompt": generation.prompt,
        "granularity": generation.granularity,
        "logprobs": question.logprobs,
        "over": list(generation.over),
    }


def _task_settings(plan: Plan) -> dict[str, Any]:
    """Task settings outside the fingerprint of answers. They determine the requests, and therefore the rows."""
    made = {question.id: question.task.options.model_dump(mode="json") for question in plan.questions}
    made = {q.id: made[q.id] for q in plan.questions if made[q.id] != dict(q.task.identity())}
    return {"tasks": made} if made else {}


def _public(value: Any) -> Any:
    """JSON with URLs in a form that may be published."""
    if isinstance(value, dict):
        return {name: _public(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_public(each) for each in value]
    return public_text(value) if isinstance(value, str) else value


def _provenance(plan: Plan, annotator: Annotator) -> dict[str, Any]:
    """The inputs of a build's bytes, without values that differ between runs."""
    profile = profile_of(plan.pipeline, plan.questions)
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
        "cleaning": cleaning.VERSION,
        "annotate": annotator.provenance(),
        "source": public_text(plan.pipeline.source.path),
        "card": _public(plan.pipeline.output.card.model_dump(mode="json", exclude_defaults=True)),
        **({"profile": {"name": plan.pipeline.output.profile, "lists": profile.sources}} if profile else {}),
    }


def too_few_shards(manifest: dict[str, Any], trainer: Trainer | None) -> str | None:
    """A warning with advice when there are fewer train shards than readers; None when there are enough.

    Each worker of each GPU reads different shards. Unless shards are drawn with replacement (`--dataset-resampled`),
    open_clip's `get_wds_dataset` (open_clip_train/data.py) asserts that there are at least as many shards as readers.
    So does FLAIR, whose loader is derived from it. Other loaders leave some readers without data, and
    the GPUs that wait for these readers are idle.
    """
    if trainer is None:
        return None
    shards = sum(shard["splits"]["train"] > 0 for shard in manifest["shards"])
    if shards >= trainer.readers:
        return None
    samples = manifest["splits"]["train"]
    warning = (
        f"{number_of(shards, 'train shard is', 'train shards are')} fewer than the trainer's {trainer.readers:,} "
        f"readers ({number_of(trainer.gpus, 'GPU')} x {number_of(trainer.workers, 'worker')}): open_clip and FLAIR "
        "refuse to start, other loaders leave readers idle. "
    )
    if samples < trainer.readers:
        return warning + f"Train samples: only {samples:,}. Use fewer workers"
    fewer = f"recaption build PIPELINE --set output.samples_per_shard={samples // trainer.readers}"
    if manifest["format"] == "sidecar":
        return f"{warning}A sidecar has its source's shards. For enough shards: {fewer} --set output.format=webdataset"
    return f"{warning}For enough shards: {fewer}"
