"""The engines of one pass: how many there should be, how they are doing, and when it is no use to start another."""

from __future__ import annotations

from dataclasses import dataclass

from recaption.errors import EngineDead, UserError
from recaption.generate.actor import ActorSpec, Poll
from recaption.generate.plan import ModelPlan
from recaption.generate.tasks import Job
from recaption.generate.transport import Transport

LOOK_AROUND = 2.0  # seconds between looks at the cluster's nodes
MAX_BARREN = 3  # engines in a row that died without answering anything: the run stops
MAX_BARREN_QUARANTINE = 8, 20  # the same in quarantine, where engines are expected to die: before any has worked, after
STOP_SECONDS = 5.0


@dataclass(kw_only=True, slots=True)
class _Engine:
    capacity: int | None = None  # None: it is starting
    useful: bool = False  # it has answered something
    poll: Poll | None = None  # the last one
    asked: float | None = None  # when a poll was sent that has not come back
    answered: float = 0.0  # when the last one came back
    recycling: bool = False


class Fleet:
    """Numbers of engines go up: a replaced one never has its predecessor's."""

    def __init__(self, model: ModelPlan, job: Job, transport: Transport) -> None:
        self._model, self._job, self._transport = model, job, transport
        self._engines: dict[int, _Engine] = {}
        self._spawned = 0
        self._barren = 0  # deaths in a row of engines that had answered nothing
        self._looked = self._polled = self._listened = float("-inf")
        self._wanted = 0
        self.capacity = 0
        """Requests that all engines together want in flight."""
        self.proven = False
        """Whether any engine of this pass has answered anything: if so, a dead one may be an image's fault."""

    def __len__(self) -> int:
        return len(self._engines)

    @property
    def ready(self) -> int:
        return len(self.numbers())

    def numbers(self) -> list[int]:
        """Engines that have started."""
        return [number for number, engine in self._engines.items() if engine.capacity is not None]

    def polls(self) -> dict[int, Poll]:
        """The last poll of each engine."""
        return {number: engine.poll for number, engine in self._engines.items() if engine.poll is not None}

    # coming and going

    def grow(self) -> list[tuple[int, int]]:
        """Start the engines that are missing; nodes that joined since get theirs. Returns (engine, ticket) of each.

        Raises UserError where no node can hold one.
        """
        if self._model.engine is None:
            return []
        now = self._transport.now()
        if now - self._looked >= LOOK_AROUND:
            self._looked, (self._wanted, self._gpus, self._neighbours) = now, self._replicas()
        started = []
        while len(self._engines) < self._wanted:
            number, self._spawned = self._spawned, self._spawned + 1
            self._transport.spawn(self._spec(number), cpus=self._model.config.reserved_cpus, gpus=self._gpus)
            self._engines[number] = _Engine()
            started.append((number, self._transport.call(number, "start")))
        return started

    def started(self, number: int, capacity: int) -> None:
        self._engines[number].capacity = capacity
        self.capacity += capacity

    def useful(self, number: int) -> None:
        """An engine has answered something."""
        if number in self._engines:
            self._engines[number].useful = True
        self._barren, self.proven = 0, True

    def remove(self, number: int) -> Poll | None:
        """An engine is gone, or has to go. Returns how far it was; None where that is known already."""
        engine = self._engines.pop(number, None)
        if engine is None:
            return None
        self.capacity -= engine.capacity or 0
        self._transport.kill(number)
        return engine.poll or Poll.nothing()

    def died(self, *, useful: bool, quarantined: bool, said: str) -> None:
        """Count a death. Raises EngineDead, in the engine's own words, when there have been too many for nothing."""
        self._barren = 0 if useful else self._barren + 1
        if self._barren >= (MAX_BARREN_QUARANTINE[self.proven] if quarantined else MAX_BARREN):
            raise EngineDead(
                f"the engine of model {self._model.name} died {self._barren} times without finishing any work. "
                f"Its own last words: {said}"
            )

    def recycle(self, number: int) -> bool:
        """Whether an engine that grew too large is to be drained now: one at a time."""
        if any(engine.recycling for engine in self._engines.values()) or number not in self._engines:
            return False
        self._engines[number].recycling = True
        return True

    def stop(self, *, at_once: bool) -> None:
        if not at_once:
            tickets = {self._transport.call(number, "stop") for number in self.numbers()}
            deadline = self._transport.now() + STOP_SECONDS
            while tickets and self._transport.now() < deadline:
                tickets -= {outcome.ticket for outcome in self._transport.wait(0.2)}
        for number in list(self._engines):
            self._transport.kill(number)
        self._engines.clear()

    # how they are

    def poll(self, *, often: bool) -> list[tuple[int, int]]:
        """Ask those whose turn it is. Returns (engine, ticket) of each."""
        now, every = self._transport.now(), self.pace(often=often)
        if now - self._polled < every / 5:
            return []
        self._polled = now
        asked = []
        for number, engine in self._engines.items():
            if engine.capacity is not None and engine.asked is None and now - engine.answered >= every:
                engine.asked = now
                asked.append((number, self._transport.call(number, "poll")))
        return asked

    def pace(self, *, often: bool) -> float:
        """Seconds between two looks at everything: many engines must not drown the driver in answers.

        At the end of the work, when every request counts, it looks more often.
        """
        return max(0.25, len(self._engines) / 500) if often else max(1.0, len(self._engines) / 200)

    def polled(self, number: int, poll: Poll) -> None:
        engine = self._engines.get(number)
        if engine is None:
            return
        engine.poll, engine.asked, engine.answered = poll, None, self._transport.now()
        if poll.answers:
            self.useful(number)

    def was_useful(self, number: int) -> bool:
        return number in self._engines and self._engines[number].useful

    def silent(self) -> list[int]:
        """Engines whose process does not even say that it hangs."""
        now = self._transport.now()
        if now - self._listened < LOOK_AROUND:
            return []
        self._listened = now
        limit = now - self._model.config.hang_seconds - 30
        return [n for n, engine in self._engines.items() if engine.asked is not None and engine.asked < limit]

    def _replicas(self) -> tuple[int, int, int]:
        """Engines to run (as the pipeline says, or what the nodes have GPUs for), GPUs of each, engines on a node."""
        config = self._model.config
        gpus = self._transport.gpus()
        if config.engine == "openai":  # the model runs elsewhere
            replicas = 1 if config.replicas == "auto" else config.replicas
            return replicas, 0, max(1, -(-replicas // max(1, len(gpus))))
        fits = [count // config.tensor_parallel for count in gpus]
        if any(gpus) and not any(fits):
            raise UserError(
                f"models.{self._model.name}.tensor_parallel is {config.tensor_parallel}, but no node has so many GPUs "
                f"(the largest has {max(gpus)}). One engine lives on one node: lower it"
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
            hang_seconds=config.hang_seconds,
            host_bytes=None if memory is None else int(memory * 2**30),
        )
