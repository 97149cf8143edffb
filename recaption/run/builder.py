"""From finished shards to a published build, beside the generation."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Any

import ray

import recaption
from recaption.annotate import Annotator
from recaption.config import Pipeline
from recaption.errors import DatasetError, Interrupted, ShardError, StoreError
from recaption.generate.chunks import Listing
from recaption.generate.plan import Plan, fingerprint
from recaption.generate.tasks import Job
from recaption.generate.transport import get
from recaption.progress import Display
from recaption.run.shard import BuildSpec, Built, check_keys, finish_shard, profile_of, token_encoders
from recaption.store import Store
from recaption.types import SCHEMA_VERSION, SourceShard
from recaption.write import Format, ShardEntry, current_build, publish, read_manifest, write_manifest


class Builder:
    """Turns finished shards into a build beside the generation, in Ray tasks, and publishes it at the end.

    A build is named by the fingerprint of what it is made from. When such a build is published already and nothing
    changed, nothing is done; when the answers have changed since, the next revision is made beside it.
    """

    def __init__(self, plan: Plan, job: Job, store: Store, annotator: Annotator, limit: int | None) -> None:
        self._plan, self._store, self._annotator = plan, store, annotator
        base = _build_fingerprint(plan, annotator, job.excluded, limit)
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
        self._shared = ray.put(self._spec)  # once, not with every task
        self._waiting: deque[tuple[SourceShard, int, str | None]] = deque()
        self._running: list[ray.ObjectRef] = []
        self._built: list[Built] = []
        self._order: dict[str, int] = {}
        self._images = 0

    def add(self, listing: Listing) -> None:
        """A shard has all its answers. Returns at once."""
        self._order[listing.shard.id] = listing.shard.number
        self._images += listing.images
        self._waiting.append((listing.shard, listing.images, self._published.get(listing.shard.id)))
        self.poll()

    def poll(self, timeout: float = 0.0) -> None:
        """Keep a shard at work for each core there is, and take in what is done. Raises what failed."""
        cores = int(ray.cluster_resources().get("CPU", 1))
        while self._waiting and len(self._running) < cores:
            self._running.append(_finish.remote(self._shared, *self._waiting.popleft()))
        if self._running:
            ready, self._running = ray.wait(self._running, num_returns=len(self._running), timeout=timeout)
            self._built.extend(get(ref) for ref in ready)

    def finish(self, display: Display, stopping: Callable[[], bool]) -> tuple[str, bool]:
        """Wait for all shards, write the manifest, publish. Returns the build's name and whether it is new."""
        built = self._collect(display, stopping)
        unchanged = all(b.entry is None for b in built) and {b.shard.id for b in built} == set(self._published)
        if unchanged and self._newest and built:
            if current_build(self._store) != self._newest:
                publish(self._store, self._newest)
            return self._newest, False
        # The published build has some of the shards already; the new one needs them too.
        self._waiting.extend((b.shard, b.limit, None) for b in built if b.entry is None)
        built = [*(b for b in built if b.entry is not None), *self._collect(display, stopping)]
        built.sort(key=lambda b: self._order[b.shard.id])
        entries = [b.entry for b in built if b.entry is not None]
        written = sum(entry.counts["images"] for entry in entries)
        if written != self._images or len(entries) != len(self._order):
            raise DatasetError(f"{self._images} images were listed, but {written} are in the build")
        get(_check_keys.remote(self._shared, [entry.name for entry in entries]))
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
            token_ids=[encoder.facts for encoder in token_encoders(pipeline.output.token_ids)],
        )

    def _collect(self, display: Display, stopping: Callable[[], bool]) -> list[Built]:
        """Wait for everything that was added."""
        total = len(self._built) + len(self._waiting) + len(self._running)
        while self._waiting or self._running:
            if stopping():
                raise Interrupted("stopped on request; run the same command again to continue")
            self.poll(timeout=0.5)
            display.building(len(self._built), total)
        built, self._built = self._built, []
        return built


@ray.remote(num_cpus=1, max_retries=2, retry_exceptions=[ShardError, StoreError])
def _finish(spec: BuildSpec, shard: SourceShard, limit: int, published_inputs: str | None) -> Built:
    return finish_shard(spec, shard, limit, published_inputs)


@ray.remote(num_cpus=0)
def _check_keys(spec: BuildSpec, shards: list[str]) -> None:
    check_keys(spec, shards)


def _name(base: str, revision: int) -> str:
    return f"{base}-r{revision}" if revision else base


def _build_fingerprint(plan: Plan, annotator: Annotator, excluded: frozenset[str], limit: int | None) -> str:
    """What a build is made from, as far as it is known before a single answer is there."""
    return fingerprint(
        {
            "schema": SCHEMA_VERSION,
            "source": plan.pipeline.source.model_dump(mode="json"),
            "generations": [question.folder for question in plan.questions],
            "annotate": [plan.pipeline.annotate.model_dump(mode="json"), annotator.provenance()],
            "output": plan.pipeline.output.model_dump(mode="json", exclude=_not_identity(plan.pipeline)),
            **_token_ids(plan.pipeline),
            "excluded": hashlib.sha256("".join(sorted(excluded)).encode()).hexdigest() if excluded else None,
            "limit": limit,
        }
    )[:12]


def _not_identity(pipeline: Pipeline) -> set[str]:
    """Output settings on which the bytes of a build do not depend; those that are not used leave builds their names."""
    unused = set() if pipeline.output.profile else {"profile", "profile_map", "profile_fill"}
    unused |= set() if pipeline.output.token_ids else {"token_ids"}
    return {"path", "max_reject_share"} | unused


def _token_ids(pipeline: Pipeline) -> dict[str, Any]:
    """Names and files may stay while a tokenizer changes: what it does counts."""
    made = [[encoder.facts.name, encoder.facts.sha256] for encoder in token_encoders(pipeline.output.token_ids)]
    return {"token_ids": made} if made else {}


def _provenance(plan: Plan, annotator: Annotator) -> dict[str, Any]:
    """What the bytes of a build depend on; nothing that differs from run to run."""
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
        "annotate": annotator.provenance(),
        "source": plan.pipeline.source.path,
        "card": plan.pipeline.output.card.model_dump(mode="json", exclude_defaults=True),
        **({"profile": {"name": plan.pipeline.output.profile, "lists": profile.sources}} if profile else {}),
    }


def _format(pipeline: Pipeline, source_kind: str) -> Format:
    if pipeline.output.format != "auto":
        return pipeline.output.format
    return "sidecar" if source_kind == "webdataset" else "parquet"
