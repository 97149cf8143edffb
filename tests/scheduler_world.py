"""A small world around the scheduler: actors, a store and messages on their way, all moved by one random generator."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from recaption.generate.chunks import Chunk, ShardListing
from recaption.generate.engine_state import Assignment
from recaption.generate.scheduler import Scheduler
from recaption.types import SourceShard

Row = tuple[str, int]  # shard, row
Asked = tuple[str, int, int]  # shard, row, question


def listing(number: int, sizes: list[int], questions: int = 1) -> ShardListing:
    """A shard with a chunk of so many images for each of `sizes`; 0 leaves the chunk out."""
    masks = [((1 << size) - 1,) * questions for size in sizes]
    return masked(number, masks)


def masked(number: int, masks: list[tuple[int, ...]]) -> ShardListing:
    """A shard whose chunks miss what `masks` say."""
    shard = SourceShard(id=f"{number:05d}", number=number, path=f"{number:05d}.tar")
    chunks = tuple(
        Chunk(shard=shard, digest="d", number=i, first=256 * i, missing=bits)
        for i, bits in enumerate(masks)
        if any(bits)
    )
    images, questions = 256 * len(masks), len(masks[0]) if masks else 1
    return ShardListing(
        shard=shard,
        digest="d",
        images=images,
        usable=images,
        done=(0,) * questions,
        duplicates=(0,) * questions,
        first_key=None,
        chunks=chunks,
    )


def asked(chunk: Chunk) -> set[Asked]:
    """Everything that a chunk misses."""
    return {
        (chunk.shard.id, row, question)
        for row in chunk.rows()
        for question in range(len(chunk.missing))
        if chunk.lacks(row, question)
    }


def recheck_all(scheduler: Scheduler) -> None:
    """None of the returned work is answered."""
    for assignment in scheduler.to_recheck():
        scheduler.rechecked(assignment, assignment.chunk)


@dataclass(kw_only=True, eq=False)
class Work:
    assignment: Assignment
    chunk: Chunk  # without what was given back
    todo: list[int]
    begun: dict[int, list[int]] = field(default_factory=dict)  # row -> questions that are in the engine

    def questions(self, row: int) -> list[int]:
        return [question for question in range(len(self.chunk.missing)) if self.chunk.lacks(row, question)]


@dataclass(kw_only=True, eq=False)
class Actor:
    number: int
    capacity: int
    works: dict[int, Work] = field(default_factory=dict)
    alive: bool = True
    told: dict[int, tuple[int, ...]] | None = None  # once dead: the rows that were in the engine, if it could tell
    retired: bool = False

    @property
    def in_flight(self) -> int:
        return sum(len(questions) for work in self.works.values() for questions in work.begun.values())


class World:
    """Plays cluster and store; a row of `poison` ends whatever actor has begun it, sooner or later."""

    def __init__(self, rng: random.Random, shards: list[ShardListing], poison: set[Row], *, mishaps: int = 0) -> None:
        self.rng, self.scheduler, self.poison = rng, Scheduler(), poison
        self.expected = {each.shard.id: set[Asked]().union(*map(asked, each.chunks)) for each in shards}
        self.mishaps = mishaps  # deaths, drains and failures that no image is to blame for
        self.unlisted = list(shards)
        self.actors: dict[int, Actor] = {}
        self.spawned = 0
        self.messages: list[Callable[[], None]] = []
        self.rechecking: set[int] = set()
        self.stored: set[Asked] = set()
        self.rejected: set[Asked] = set()
        self.completed: list[str] = []
        self.steals = self.released = 0

    # what may happen

    def step(self) -> None:
        event = self.rng.choice(
            [self.list_shard, self.spawn, self.hand_out, self.hand_out, self.deliver, self.deliver, self.deliver]
            + [self.work] * 4
            + [self.ask_back, self.look_up, self.look_up, self.poll, self.bury, self.mishap, self.release]
        )
        event()
        self.check()

    def list_shard(self) -> None:
        if self.unlisted:
            self.scheduler.listed(self.unlisted.pop(0))
        elif self.scheduler.wants_shards(1 << 60):
            self.scheduler.all_listed()

    def spawn(self) -> None:
        if sum(actor.alive and not actor.retired for actor in self.actors.values()) < 3:
            number, self.spawned = self.spawned, self.spawned + 1
            self.actors[number] = Actor(number=number, capacity=self.rng.choice([1, 2, 5, 20]))
            self.scheduler.actor_ready(number, self.actors[number].capacity)

    def hand_out(self) -> None:
        for assignment in self.scheduler.assign():
            actor, chunk = self.actors[assignment.actor], assignment.chunk
            work = Work(assignment=assignment, chunk=chunk, todo=chunk.rows())
            actor.works[assignment.id] = work
            if not actor.alive and actor.told is not None:
                actor.told[assignment.id] = ()
            self.end_if_done(actor, work)
        for chunk in self.scheduler.poison():
            self.settle(asked(chunk), self.rejected)
            self.messages.append(lambda chunk=chunk: self.scheduler.poison_stored(chunk))

    def ask_back(self) -> None:
        for steal in self.scheduler.steals():
            self.steals += 1
            victim = self.actors[steal.assignment.actor]
            self.messages.append(lambda s=steal, v=victim: self.give_back(v, s.assignment, s.requests))

    def give_back(self, victim: Actor, assignment: Assignment, requests: int) -> None:
        """The call has reached the actor; its reply is on its way."""
        work = victim.works.get(assignment.id)
        given = None
        if work is not None and work.todo and victim.alive:
            width = max(len(work.questions(row)) for row in work.todo)
            rows = work.todo[-max(1, requests // width) :]
            del work.todo[-len(rows) :]
            given = work.chunk.only(rows)
            work.chunk = work.chunk.minus(given)
            self.end_if_done(victim, work)
        self.messages.append(lambda: self.scheduler.given_back(assignment, given))

    def work(self) -> None:
        """One actor begins a row, settles a question, or dies of one."""
        able = [actor for actor in self.actors.values() if actor.alive and actor.works]
        if not able:
            return
        actor = self.rng.choice(able)
        works = [work for work in actor.works.values() if work.todo]
        if works and actor.in_flight < actor.capacity and self.rng.random() < 0.6:
            row = works[0].todo.pop(0)
            works[0].begun[row] = works[0].questions(row)
            return
        begun = [(work, row) for work in actor.works.values() for row in work.begun]
        if not begun:
            return
        work, row = self.rng.choice(begun)
        if (work.chunk.shard.id, row) in self.poison:
            self.die(actor)
            return
        self.settle({(work.chunk.shard.id, row, work.begun[row].pop())}, self.stored)
        if not work.begun[row]:
            del work.begun[row]
        self.end_if_done(actor, work)

    def end_if_done(self, actor: Actor, work: Work) -> None:
        if not work.todo and not work.begun and actor.alive:
            del actor.works[work.assignment.id]
            self.messages.append(lambda: self.scheduler.done(work.assignment, work.chunk))

    def die(self, actor: Actor) -> None:
        actor.alive = False
        if self.rng.random() < 0.6:
            actor.told = {number: tuple(work.begun) for number, work in actor.works.items()}

    def mishap(self) -> None:
        """What befalls an actor through no fault of its images. Quarantine is spared: there it would be their fault."""
        able = [actor for actor in self.actors.values() if actor.alive and not actor.retired]
        if not self.mishaps or not able:
            return
        actor = self.rng.choice(able)
        if any(work.assignment.quarantined for work in actor.works.values()):
            return
        self.mishaps -= 1
        kind = self.rng.choice(["die", "drain", "fail"])
        if kind == "die":
            self.die(actor)
            return
        if kind == "drain":
            actor.retired = True
            self.scheduler.retire(actor.number)
            ended = list(actor.works.values())
        else:
            ended = self.rng.sample(list(actor.works.values()), min(1, len(actor.works)))
        for work in ended:
            del actor.works[work.assignment.id]
            back = self.scheduler.returned if kind == "drain" else self.scheduler.failed
            self.messages.append(lambda work=work, back=back: back(work.assignment))
        if kind == "drain":
            actor.alive, actor.told = False, {}

    def bury(self) -> None:
        """The driver learns that an actor is gone; messages of it may still arrive later."""
        dead = [actor for actor in self.actors.values() if not actor.alive]
        if dead:
            actor = self.rng.choice(dead)
            del self.actors[actor.number]
            self.scheduler.lost(actor.number, actor.told)

    def release(self) -> None:
        """Sometimes, remove the engines that get no more work."""
        surplus = self.scheduler.surplus()
        if surplus and self.rng.random() < 0.75:
            assert not self.scheduler.queued and not any(engine.running for engine in surplus)
            for engine in surplus:
                assert not self.actors.pop(engine.number).works
                assert self.scheduler.lost(engine.number) == []
                self.released += 1

    def look_up(self) -> None:
        for assignment in self.scheduler.to_recheck():
            if assignment.id not in self.rechecking:
                self.rechecking.add(assignment.id)
                chunk = assignment.chunk
                left = [0] * len(chunk.missing)
                for _, row, question in asked(chunk) - self.stored:
                    left[question] |= 1 << row - chunk.first
                missing = replace(chunk, missing=tuple(left))
                self.messages.append(lambda a=assignment, c=missing: self.scheduler.rechecked(a, c))

    def poll(self) -> None:
        for actor in self.actors.values():
            if actor.alive:
                open = {}
                for number, work in actor.works.items():
                    not_begun = work.chunk.only(work.todo).requests
                    open[number] = not_begun + sum(map(len, work.begun.values())), not_begun
                self.messages.append(lambda n=actor.number, o=open: self.scheduler.polled(n, o))

    def deliver(self) -> None:
        if self.messages:
            self.messages.pop(self.rng.randrange(len(self.messages)))()

    # what must hold

    def settle(self, found: set[Asked], where: set[Asked]) -> None:
        assert self.stored.isdisjoint(found) and self.rejected.isdisjoint(found), "nothing is paid for twice"
        where |= found

    def check(self) -> None:
        scheduler = self.scheduler
        assert scheduler.queued == sum(piece.chunk.requests for piece in scheduler._queue)
        held = [piece.chunk for piece in (*scheduler._queue, *scheduler._quarantine.waiting)]
        held += [assignment.chunk for assignment in scheduler.to_recheck()]
        held += [a.chunk for actor in scheduler.engines.values() for a in actor.running.values()]
        places: Counter[tuple[str, int, int]] = Counter()
        for chunk in held:
            for question, bits in enumerate(chunk.missing):
                place = chunk.shard.id, chunk.number, question
                assert not places[place] & bits, "what is asked is in one place only"
                places[place] |= bits
        at_work = [
            (work.chunk.shard.id, row)
            for actor in self.actors.values()
            if actor.alive
            for work in actor.works.values()
            for row in (*work.todo, *work.begun)
        ]
        assert len(at_work) == len(set(at_work)), "no row is at two living actors"
        for actor in scheduler.engines.values():
            if any(a.quarantined for a in actor.running.values()):
                assert len(actor.running) == 1, "what is in quarantine is alone at its engine"
        for each in scheduler.completed():
            shard = each.shard.id
            assert shard not in self.completed
            settled = self.stored | self.rejected
            assert self.expected[shard] <= settled, f"shard {shard} is complete before its last answer"
            self.completed.append(shard)

    def run(self, most_steps: int) -> None:
        """Until everything is settled. Fails when that takes too long."""
        for _ in range(most_steps):
            if self.scheduler.finished:
                break
            self.step()
        self.check()
        assert self.scheduler.finished, f"after {most_steps} steps {len(self.scheduler._shards)} shards are open"
        assert sorted(self.completed) == sorted(self.expected)
        everything = {each for shard in self.expected.values() for each in shard}
        assert self.stored | self.rejected == everything
        assert {(shard, row) for shard, row, _ in self.rejected} == self.poison & {(s, r) for s, r, _ in everything}
        assert not self.scheduler.waiting and self.scheduler.queued == 0 and self.scheduler.in_quarantine == 0
