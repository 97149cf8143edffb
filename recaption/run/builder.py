"""From finished shards to a published build, beside the generation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import ray

import recaption
from recaption.annotate import Annotator
from recaption.config import Pipeline
from recaption.errors import Interrupted
from recaption.generate.chunks import Listing
from recaption.generate.driver import Job, get
from recaption.generate.plan import Plan, fingerprint
from recaption.progress import Display
from recaption.run.shard import BuildSpec, Built, finish_shard
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


def _build_fingerprint(plan: Plan, annotator: Annotator, excluded: frozenset[str], limit: int | None) -> str:
    """What a build is made from, as far as it is known before a single answer is there."""
    return fingerprint(
        {
            "schema": SCHEMA_VERSION,
            "source": plan.pipeline.source.model_dump(mode="json"),
            "generations": [question.folder for question in plan.questions],
            "annotate": [plan.pipeline.annotate.model_dump(mode="json"), annotator.provenance()],
            "output": plan.pipeline.output.model_dump(mode="json", exclude={"path", "max_reject_share"}),
            "excluded": hashlib.sha256("".join(sorted(excluded)).encode()).hexdigest() if excluded else None,
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
