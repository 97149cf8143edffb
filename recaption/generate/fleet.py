"""The engines of one pass: how many to run, starting and removing them, polling them, and when to give up."""

from __future__ import annotations

from recaption.errors import EngineDead, UserError
from recaption.generate.actor import ActorSpec, Poll
from recaption.generate.chunks import Job
from recaption.generate.engine_state import EngineState
from recaption.generate.plan import ModelPlan
from recaption.generate.transport import Transport

NODES_SECONDS = 2.0  # between two checks of the cluster's nodes
MAX_FRUITLESS = 3  # engines in a row that failed without answering anything: the run stops
MAX_FRUITLESS_QUARANTINE = 8, 20  # the same in quarantine: before the first answer of any engine, and after it
STOP_SECONDS = 5.0
RELEASE_SECONDS = 10.0  # without work or the prospect of any: then an engine is released


class Fleet:
    """Starts and removes engines. Their records are in `engines`, which fleet, scheduler and driver share."""

    def __init__(
        self,
        model: ModelPlan,
        job: Job,
        transport: Transport,
        engines: dict[int, EngineState],
        *,
        expects_gpus: bool = False,
    ) -> None:
        """`expects_gpus`: engines wait for GPUs, even if no node has any yet."""
        self.engines = engines
        self.capacity = 0
        """Requests that all engines together want in flight."""
        self.any_useful = False
        """Whether any engine of this pass has answered anything. If so, a failure may be caused by an image."""
        self._model, self._job, self._transport = model, job, transport
        self.released = 0
        """Engines that had started and were released before the end of the pass."""
        self._not_wanted = 0  # engines that were released; they are not replaced
        self._spawned = 0
        self._fruitless_failures = 0  # in a row
        self._nodes_read = self._polled = self._checked = float("-inf")
        self._wanted = self._most_wanted = 0
        self._gpus, self._neighbours = model.config.tensor_parallel if expects_gpus else 0, 1
        self._has_fitted = False  # a node had enough GPUs for an engine
        self._without_nodes: float | None = None  # since when engines need GPUs, and no node has them

    def __len__(self) -> int:
        return len(self.engines)

    @property
    def running(self) -> int:
        """Engines that have their GPUs, or load a model onto them."""
        return 0 if self.waits_for_gpus else len(self.engines)

    @property
    def waits_for_gpus(self) -> bool:
        """Whether no node has the GPUs of an engine."""
        return self._without_nodes is not None

    @property
    def gpu_wait_seconds(self) -> float:
        """Seconds for which no node has had the GPUs of an engine; 0 if one has."""
        return 0.0 if self._without_nodes is None else self._transport.now() - self._without_nodes

    @property
    def had_gpus(self) -> bool:
        """Whether a node had the GPUs of an engine in this pass."""
        return self._has_fitted

    @property
    def started(self) -> list[EngineState]:
        """Engines that have started, retiring ones included."""
        return [engine for engine in self.engines.values() if engine.phase != "starting"]

    # starting and removing

    def grow(self) -> list[tuple[EngineState, int]]:
        """Start the missing engines, also those for nodes that have joined. Returns each with its ticket.

        Raises UserError if no node has enough GPUs for one.
        """
        if self._model.engine is None:
            return []
        now = self._transport.now()
        if now - self._nodes_read >= NODES_SECONDS:
            self._nodes_read, (self._wanted, self._gpus, self._neighbours) = now, self._replicas()
            self._most_wanted = max(self._most_wanted, self._wanted)
        started = []
        while len(self.engines) < self.wanted:
            number, self._spawned = self._spawned, self._spawned + 1
            handle = self._transport.spawn(self._spec(number), cpus=self._model.config.reserved_cpus, gpus=self._gpus)
            engine = self.engines[number] = EngineState(number=number, handle=handle)
            started.append((engine, self._transport.call(handle, "start")))
        return started

    @property
    def wanted(self) -> int:
        """How many engines should run while there is work.

        When nodes of released engines leave, the number that fits on the nodes falls by itself. Released engines are
        therefore subtracted from the largest number so far, not from the current one.
        """
        return max(1, min(self._wanted, self._most_wanted - self._not_wanted))

    def release(self, surplus: list[EngineState]) -> list[EngineState]:
        """Of the engines that get no more work (`Scheduler.surplus`), those to remove now: they free their GPUs."""
        now = self._transport.now()
        for engine in set(self.engines.values()).difference(surplus):
            engine.surplus_since = None
        due = []
        for engine in surplus:
            if engine.surplus_since is None:
                engine.surplus_since = now
            if now - engine.surplus_since >= RELEASE_SECONDS:
                due.append(engine)
        self.released += sum(engine.ready for engine in due)
        self._not_wanted += len(due)
        return due

    def useful(self, engine: EngineState | None) -> None:
        """An engine has answered something; `engine` is None if it has been removed since."""
        if engine is not None:
            engine.useful = True
        self.any_useful, self._fruitless_failures = True, 0

    def ready(self, capacity: int) -> None:
        """An engine has started. It has its GPUs, even if its node joined after the nodes were last read."""
        self.capacity += capacity
        if self.waits_for_gpus:
            self._without_nodes, self._has_fitted = None, True

    def removed(self, engine: EngineState) -> None:
        """An engine is removed: kill its actor."""
        self.capacity -= engine.capacity
        self._transport.kill(engine.handle)

    def failed(self, engine: EngineState, *, quarantined: bool, detail: str) -> None:
        """Count a failure. After too many in a row without an answer, raises EngineDead with the engine's message."""
        self._fruitless_failures = 0 if engine.useful else self._fruitless_failures + 1
        if self._fruitless_failures >= (MAX_FRUITLESS_QUARANTINE[self.any_useful] if quarantined else MAX_FRUITLESS):
            raise EngineDead(
                f"the engine of model {self._model.name} died {self._fruitless_failures} times without finishing any "
                f"work. Its last message: {detail}"
            )

    def recycle(self, engine: EngineState) -> bool:
        """Whether to drain this engine now, because it uses too much memory. Engines are drained one at a time."""
        if any(other.recycled for other in self.engines.values()):
            return False
        engine.recycled = True
        return True

    def stop(self, *, at_once: bool) -> None:
        """Stop all engines in order, or kill them at once."""
        if not at_once:
            tickets = {self._transport.call(engine.handle, "stop") for engine in self.started}
            deadline = self._transport.now() + STOP_SECONDS
            while tickets and self._transport.now() < deadline:
                tickets -= {reply.ticket for reply in self._transport.wait(0.2)}
        for engine in self.engines.values():
            self._transport.kill(engine.handle)
        self.engines.clear()

    # polling

    def poll(self, *, often: bool) -> list[tuple[EngineState, int]]:
        """Poll the engines that are due. Returns each with its ticket."""
        now, period = self._transport.now(), self.period(often=often)
        if now - self._polled < period / 5:
            return []
        self._polled = now
        polls = []
        for engine in self.started:
            if engine.poll_sent is None and now - engine.poll_received >= period:
                engine.poll_sent = now
                polls.append((engine, self._transport.call(engine.handle, "poll")))
        return polls

    def period(self, *, often: bool) -> float:
        """Seconds between two polls of an engine: more with many engines, or the driver could not keep up.

        At the end of the work, when few requests are left, it polls more `often`.
        """
        return max(0.25, len(self) / 500) if often else max(1.0, len(self) / 200)

    def polled(self, engine: EngineState, poll: Poll) -> None:
        engine.poll, engine.poll_sent, engine.poll_received = poll, None, self._transport.now()
        if poll.answers:
            self.useful(engine)

    def silent(self) -> list[EngineState]:
        """Engines whose process has not replied to a poll in the time in which it would report a hanging engine."""
        now = self._transport.now()
        if now - self._checked < NODES_SECONDS:
            return []
        self._checked = now
        limit = now - self._model.config.hang_seconds - 30
        return [e for e in self.engines.values() if e.poll_sent is not None and e.poll_sent < limit]

    def _replicas(self) -> tuple[int, int, int]:
        """Engines to run (as configured, or as many as the GPUs allow), GPUs per engine, engines per node.

        If engines had GPUs or expect them, and no node has enough, one engine waits for such a node to join.
        """
        config = self._model.config
        gpus = self._transport.gpus()
        if config.engine == "openai":  # the model runs elsewhere
            replicas = 1 if config.replicas == "auto" else config.replicas
            return replicas, 0, max(1, -(-replicas // max(1, len(gpus))))
        fits = [count // config.tensor_parallel for count in gpus]
        self._has_fitted |= any(fits)
        if self._gpus > 0 and not any(fits) and (self._has_fitted or not any(gpus)):
            if self._without_nodes is None:
                self._without_nodes = self._transport.now()
            return 1, self._gpus, self._neighbours
        self._without_nodes = None
        if any(gpus) and not any(fits):
            raise UserError(
                f"models.{self._model.name}.tensor_parallel is {config.tensor_parallel}, but no node has that many "
                f"GPUs (the largest has {max(gpus)}). An engine cannot span nodes: lower tensor_parallel"
            )
        replicas = max(1, sum(fits)) if config.replicas == "auto" else config.replicas
        if any(fits):
            return min(replicas, sum(fits)), config.tensor_parallel, max(fits)
        return replicas, 0, max(1, -(-replicas // max(1, len(gpus))))

    def _spec(self, number: int) -> ActorSpec:
        model, config = self._model, self._model.config
        assert model.engine is not None
        memory = config.host_memory_gib
        return ActorSpec(
            engine=model.engine,
            questions=model.questions,
            source=self._job.source,
            store_url=self._job.store_url,
            epoch=self._job.epoch,
            actor=number,
            renderers=None if config.renderers == "auto" else config.renderers,
            neighbours=self._neighbours,
            all_cores=config.cpus == "auto" and not self._gpus,
            on_gpu=self._gpus > 0,
            hang_seconds=config.hang_seconds,
            retry_reasons=self._job.retry_reasons,
            host_bytes=None if memory is None else int(memory * 2**30),
        )
