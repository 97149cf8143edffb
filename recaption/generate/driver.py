"""Generation on Ray: the driver hands out chunk names, actors read, ask and put. Data never travels through it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from recaption.errors import (
    ClusterError,
    DatasetError,
    EngineDead,
    Interrupted,
    RecaptionError,
    ShardError,
    StoreError,
    UserError,
)
from recaption.generate import parts
from recaption.generate.actor import Counters, EngineHost, HostSpec
from recaption.generate.chunks import CHUNK_SIZE, Listing, duplicate_keys, list_shard, load_index
from recaption.generate.plan import ModelPlan
from recaption.generate.progress import Progress
from recaption.generate.scheduler import Assignment, Scheduler
from recaption.source import Source
from recaption.store import open_store
from recaption.types import Answer, Reject, SourceShard

LIST_AHEAD = 4  # shards being indexed at once
HORIZON = 16 * CHUNK_SIZE  # requests: below this more shards are listed
MAX_BARREN_DEATHS = 3  # engines in a row that died without finishing a chunk: the run stops
MAX_ATTEMPTS = 5  # of one chunk: what breaks so many engines, or cannot be read so often, stops the run
DRAIN_SECONDS = 15.0  # SIGKILL follows SIGTERM after 30 s on Slurm and Kubernetes
FLUSH_SECONDS = 5.0  # given to the other chunks of a dead engine to put what they have


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What every part of one run shares."""

    source: Source
    store_url: str
    epoch: int
    excluded: frozenset[str] = frozenset()
    limit: int | None = None  # images, over all shards in listing order


class Pass:
    """One model's pass over the source. `run` yields each shard's listing as soon as nothing of it is missing."""

    def __init__(
        self,
        model: ModelPlan,
        job: Job,
        *,
        report: Callable[[Progress], None] = lambda progress: None,
        stopping: Callable[[], bool] = lambda: False,
        answer: bool = True,
    ) -> None:
        self._model, self._job, self._report, self._stopping, self._answer = model, job, report, stopping, answer
        self._scheduler = Scheduler()
        self._shards = iter(job.source.shards())
        self._listing: list[ray.ObjectRef] = []  # in listing order
        self._remaining = job.limit
        self._running: dict[ray.ObjectRef, Assignment] = {}
        self._actors: dict[int, Any] = {}
        self._starting: dict[ray.ObjectRef, int] = {}
        self._spawned = 0
        self._barren = 0  # deaths since a chunk was last finished
        self._lost = Counters()  # of actors that are gone
        self._first_keys: dict[str, str] = {}  # key of a shard's first row -> shard
        self.images = 0  # rows of the shards listed so far
        self._polls: dict[int, tuple[ray.ObjectRef, Counters]] = {}
        self.progress = Progress(
            model=model.name,
            total={q.id: 0 for q in model.questions},
            resumed={q.id: 0 for q in model.questions},
        )

    def run(self) -> Iterator[Listing]:
        """Raises EngineDead when engines keep dying, Interrupted when asked to stop, StoreError, ShardError."""
        try:
            last_report = 0.0
            while not self._scheduler.finished:
                if self._stopping():
                    self._drain()
                    raise Interrupted("stopped on request; run the same command again to continue")
                self._list_shards()
                self._start_engines()
                self._hand_out()
                yield from self._scheduler.completed()
                self._wait(0.2)
                if time.monotonic() - last_report > 0.5:
                    last_report = time.monotonic()
                    self._poll()
                    self._report(self.progress)
            self.progress.ended = time.monotonic()
            yield from self._scheduler.completed()
            self._poll(final=True)
            self._report(self.progress)
            self._check_sums()
        except Interrupted:
            raise
        except Exception:
            self._drain()  # what the other engines have is paid for
            raise
        finally:
            self._stop()

    def _check_sums(self) -> None:
        """What was asked is answered or rejected. Actors that died may have put more than they could still report."""
        if self._spawned > 1 or self._model.engine is None:
            return
        p = self.progress
        for name, total in p.total.items():
            settled = p.resumed[name] + p.answers[name] + p.rejects[name]
            if settled != total:
                raise DatasetError(f"generation {name}: asked {total}, but {settled} are answered or rejected")

    def _list_shards(self) -> None:
        while (
            len(self._listing) < LIST_AHEAD
            and self._remaining != 0
            and self._scheduler.wants_shards(HORIZON)
            and (shard := next(self._shards, None)) is not None
        ):
            self._listing.append(_list.remote(self._model, self._job, shard))
        if not self._listing:
            if not self.progress.all_listed and self._scheduler.wants_shards(HORIZON):
                self._scheduler.all_listed()
                self.progress.all_listed = True
            return
        # In listing order: a limit on the number of images counts along it.
        while self._listing and ray.wait([self._listing[0]], timeout=0)[0]:
            listing: Listing = get(self._listing.pop(0))
            if self._remaining is not None:
                if listing.images > self._remaining:
                    listing = get(_list.remote(self._model, self._job, listing.shard, self._remaining))
                self._remaining -= listing.images
            if listing.chunks and not self._answer:
                missing = sum(chunk.requests for chunk in listing.chunks)
                raise UserError(
                    f"{missing} answers are missing in shard {listing.shard.id}, and a build asks no model. "
                    "Make them first with recaption generate, or do both with recaption run"
                )
            self._check_keys(listing)
            self._scheduler.listed(listing)
            self.images += listing.images
            for question, done in zip(self._model.questions, listing.done, strict=True):
                self.progress.total[question.id] += listing.usable
                self.progress.resumed[question.id] += done
            if self._remaining == 0:
                self._listing.clear()

    def _check_keys(self, listing: Listing) -> None:
        """Shards that each count from the same key are told here, before a model is asked; the rest when built."""
        key, shard = listing.first_key, listing.shard.id
        if key is not None and (other := self._first_keys.setdefault(key, shard)) != shard:
            raise duplicate_keys(key, other, shard)

    def _start_engines(self) -> None:
        """Engines are started only when there is something to ask."""
        wanted = self._replicas() if self._scheduler.queued or self._running else 0
        while len(self._actors) < wanted and self._scheduler.queued:
            number = self._spawned
            self._spawned += 1
            actor = _spawn(self._model, self._job, number)
            self._actors[number] = actor
            self._starting[actor.start.remote()] = number
            if self.progress.phase == "listing":
                self.progress.phase = "starting engine"

    def _replicas(self) -> int:
        """Engines to run: as the pipeline says, or what the nodes have GPUs for. Raises UserError for none."""
        config = self._model.config
        gpus = [int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]]
        fits = sum(count // config.tensor_parallel for count in gpus)
        if any(gpus) and not fits:
            raise UserError(
                f"models.{self._model.name}.tensor_parallel is {config.tensor_parallel}, but no node has so many GPUs "
                f"(the largest has {max(gpus)}). One engine lives on one node: lower it"
            )
        replicas = max(1, fits) if config.replicas == "auto" else config.replicas
        return min(replicas, fits) if fits else replicas

    def _hand_out(self) -> None:
        for assignment in self._scheduler.assign():
            ref = self._actors[assignment.actor].run_chunk.remote(assignment.chunk, assignment.attempt)
            self._running[ref] = assignment

    def _wait(self, timeout: float) -> None:
        refs = [*self._starting, *self._running, *self._listing[:1]]
        if not refs:
            return
        ready, _ = ray.wait(refs, num_returns=1, timeout=timeout)
        for ref in ready:
            if ref in self._starting:
                self._engine_started(ref)
            elif ref in self._running:
                self._chunk_ended(ref)

    def _engine_started(self, ref: ray.ObjectRef) -> None:
        number = self._starting.pop(ref)
        try:
            capacity, provenance = get(ref)
        except (RayActorError, EngineDead) as error:
            self._actor_died(number, error)
            return
        self._scheduler.actor_ready(number, capacity)
        self.progress.phase = "generating"
        self.progress.provenance = provenance
        self.progress.started = self.progress.started or time.monotonic()

    def _chunk_ended(self, ref: ray.ObjectRef) -> None:
        assignment = self._running.pop(ref)
        try:
            get(ref)
        except (RayActorError, EngineDead) as error:
            if assignment.attempt + 1 >= MAX_ATTEMPTS:
                said = f"The last one said: {_last_words(error)}"
                raise EngineDead(
                    f"chunk {assignment.chunk.number} broke {MAX_ATTEMPTS} engines. {said}",
                    shard=assignment.chunk.shard.id,
                ) from error
            self._actor_died(assignment.actor, error)
            return
        except ShardError:
            if assignment.attempt + 1 >= MAX_ATTEMPTS:
                raise
            self._scheduler.chunk_failed(assignment.actor, assignment.chunk)
            return
        self._barren = 0
        self._scheduler.chunk_done(assignment.actor, assignment.chunk)

    def _actor_died(self, number: int, error: Exception) -> None:
        actor = self._actors.pop(number, None)
        if actor is None:
            return  # seen already, through another of its chunks
        others = [ref for ref, a in self._running.items() if a.actor == number]
        if others and not isinstance(error, RayActorError):
            ray.wait(others, num_returns=len(others), timeout=FLUSH_SECONDS)
        ray.kill(actor)
        self._scheduler.lost(number)
        self._running = {ref: a for ref, a in self._running.items() if a.actor != number}
        if number in self._polls:
            _add(self._lost, self._polls.pop(number)[1])
        self._barren += 1
        if self._barren >= MAX_BARREN_DEATHS:
            raise EngineDead(
                f"the engine of model {self._model.name} died {self._barren} times without finishing any work. "
                f"Its own last words: {_last_words(error)}"
            ) from error

    def _poll(self, *, final: bool = False) -> None:
        """Ask the actors how far they are, without waiting (but for the last time)."""
        for number, actor in self._actors.items():
            if number in self._starting.values():
                continue
            ref, known = self._polls.get(number, (None, Counters()))
            if ref is not None and (final or ray.wait([ref], timeout=0)[0]):
                known = _get_or(ref, known)
                ref = None
            if final:
                known = _get_or(actor.counters.remote(), known)
            self._polls[number] = (ref or actor.counters.remote(), known)
        total = Counters()
        for counters in (self._lost, *(known for _, known in self._polls.values())):
            _add(total, counters)
        for name in ("answers", "rejects", "retries", "output_tokens", "in_flight"):
            setattr(self.progress, name, getattr(total, name))

    def _drain(self) -> None:
        """Let every engine finish what it has, at most for DRAIN_SECONDS, and put it."""
        ready = [actor for number, actor in self._actors.items() if number not in self._starting.values()]
        refs = [*(actor.drain.remote(DRAIN_SECONDS) for actor in ready), *self._running]
        if refs:
            ray.wait(refs, num_returns=len(refs), timeout=DRAIN_SECONDS + FLUSH_SECONDS)

    def _stop(self) -> None:
        ready = [actor for number, actor in self._actors.items() if number not in self._starting.values()]
        stops = [actor.stop.remote() for actor in ready]
        if stops:
            ray.wait(stops, num_returns=len(stops), timeout=5)
        for actor in self._actors.values():
            ray.kill(actor)
        self._actors.clear()


def _spawn(model: ModelPlan, job: Job, number: int) -> Any:
    assert model.engine is not None
    spec = HostSpec(
        engine=model.engine,
        questions=model.questions,
        source=job.source,
        store_url=job.store_url,
        epoch=job.epoch,
        actor=number,
    )
    gpus = model.config.tensor_parallel if ray.cluster_resources().get("GPU", 0) else 0
    remote = ray.remote(EngineHost).options(
        num_cpus=model.config.cpus, num_gpus=gpus, max_concurrency=1000, max_restarts=0, name=None
    )
    return remote.remote(spec)


# No cores reserved: LIST_AHEAD bounds them, and they must not wait behind the writing of shards while engines idle.
@ray.remote(num_cpus=0, max_retries=2, retry_exceptions=[ShardError, StoreError])
def _list(model: ModelPlan, job: Job, shard: SourceShard, limit: int | None = None) -> Listing:
    """List one shard; a model that only replays a column is answered on the spot."""
    from recaption.engine.replay import replay

    store = open_store(job.store_url)
    listing = list_shard(store, job.source, shard, model.questions, job.excluded, limit)
    if model.engine is not None or not listing.chunks:
        return listing
    images, _ = load_index(store, job.source, shard)
    for chunk in listing.chunks:
        for i, question in enumerate(model.questions):
            assert question.generation.column is not None
            wanted = [images[row] for row in chunk.rows() if chunk.asks(row, i)]
            items = replay(wanted, question.generation.column, question.id)
            answers = [item for item in items if isinstance(item, Answer)]
            rejects = [item for item in items if isinstance(item, Reject)]
            parts.put_part(store, question, shard.id, f"{chunk.number:06d}.{job.epoch:06d}-0000", answers, rejects)
    return list_shard(store, job.source, shard, model.questions, job.excluded, limit)


def get(ref: Any) -> Any:
    """The result of a task (or of each of a list), or the error as it was raised over there."""
    try:
        return ray.get(ref)
    except RayActorError:
        raise
    except RayTaskError as error:
        if isinstance(error.cause, RecaptionError | UserError | ImportError):
            raise error.cause from None
        raise
    except RayError as error:
        raise ClusterError(f"Ray lost a task: {_last_words(error)} (its logs: /tmp/ray/session_latest/logs)") from error


def _get_or(ref: ray.ObjectRef, otherwise: Counters) -> Counters:
    try:
        return ray.get(ref, timeout=5)
    except (RayError, TimeoutError):
        return otherwise


def _add(total: Counters, more: Counters) -> None:
    for name in ("answers", "rejects", "retries", "output_tokens"):
        getattr(total, name).update(getattr(more, name))
    total.in_flight += more.in_flight


def _last_words(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
