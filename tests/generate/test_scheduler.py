"""The scheduler as a state machine: nothing lost, nothing twice, everyone kept busy."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recaption.generate.chunks import Chunk, Listing
from recaption.generate.scheduler import AHEAD, Scheduler
from recaption.types import SourceShard


def listing(number: int, sizes: list[int]) -> Listing:
    shard = SourceShard(id=f"{number:05d}", number=number, path=f"{number:05d}.tar")
    chunks = tuple(
        Chunk(shard=shard, digest="d", number=i, first=256 * i, missing=((1 << size) - 1,))
        for i, size in enumerate(sizes)
        if size
    )
    return Listing(
        shard=shard, digest="d", images=256 * len(sizes), usable=sum(sizes), done=(0,), first_key=None, chunks=chunks
    )


def test_an_actor_is_kept_ahead_by_twice_its_capacity() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [100] * 10))
    scheduler.actor_ready(7, capacity=100)
    given_out = scheduler.assign()
    assert [a.chunk.number for a in given_out] == [0, 1]
    assert sum(a.chunk.requests for a in given_out) >= AHEAD * 100
    assert scheduler.assign() == []
    scheduler.done(given_out[0], given_out[0].chunk)
    assert [a.chunk.number for a in scheduler.assign()] == [2]


def test_the_emptiest_actor_is_served_first() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10] * 4))
    scheduler.actor_ready(0, capacity=10)
    scheduler.actor_ready(1, capacity=20)
    assert [a.actor for a in scheduler.assign()] == [0, 1, 1, 0]


def test_a_shard_is_complete_when_its_last_chunk_is_or_when_nothing_was_missing() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [5, 5]))
    scheduler.listed(listing(1, [0]))
    assert [done.shard.id for done in scheduler.completed()] == ["00001"]
    scheduler.actor_ready(0, capacity=10)
    first, second = scheduler.assign()
    scheduler.done(second, second.chunk)
    assert scheduler.completed() == []
    scheduler.done(first, first.chunk)
    assert [done.shard.id for done in scheduler.completed()] == ["00000"]
    assert not scheduler.finished
    scheduler.all_listed()
    assert scheduler.finished


def test_what_a_lost_actor_had_goes_first_to_the_others() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10] * 6))
    scheduler.actor_ready(0, capacity=10)
    taken = [a.chunk.number for a in scheduler.assign()]
    assert [a.chunk.number for a in scheduler.lost(0)] == taken
    assert scheduler.lost(0) == []
    scheduler.actor_ready(1, capacity=10)
    again = scheduler.assign()
    assert [(a.chunk.number, a.attempt) for a in again] == [(n, 1) for n in taken]


def test_more_shards_are_wanted_only_while_little_waits() -> None:
    scheduler = Scheduler()
    assert scheduler.wants_shards(100)
    scheduler.listed(listing(0, [256]))
    assert not scheduler.wants_shards(100)
    scheduler.all_listed()
    assert not scheduler.wants_shards(10_000)


def test_without_actors_nothing_is_handed_out() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10]))
    assert scheduler.assign() == []
    assert not scheduler.idle


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.lists(st.integers(0, 256), max_size=6), max_size=8))
def test_whatever_dies_every_chunk_is_done_once(seed: int, shards: list[list[int]]) -> None:
    rng = random.Random(seed)
    scheduler = Scheduler()
    waiting = [listing(i, sizes) for i, sizes in enumerate(shards)]
    expected = {(each.shard.id, chunk.number) for each in waiting for chunk in each.chunks}
    ids = {each.shard.id for each in waiting}
    running: list = []
    done: list[tuple[str, int]] = []
    complete: list[str] = []
    actors = 0
    alive: list[int] = []
    while not scheduler.finished:
        event = rng.random()
        if waiting and event < 0.3:
            scheduler.listed(waiting.pop(0))
        elif not waiting and not scheduler._all_listed:
            scheduler.all_listed()
        if not alive or (event < 0.2 and len(alive) < 4):
            scheduler.actor_ready(actors, capacity=rng.randint(1, 300))
            alive.append(actors)
            actors += 1
        running += scheduler.assign()
        if alive and rng.random() < 0.1:
            gone = alive.pop(rng.randrange(len(alive)))
            scheduler.lost(gone)
            running = [a for a in running if a.actor != gone]
        elif running:
            ended = running.pop(rng.randrange(len(running)))
            scheduler.chunk_done(ended.actor, ended.chunk)
            done.append((ended.chunk.shard.id, ended.chunk.number))
        complete += [each.shard.id for each in scheduler.completed()]
    assert sorted(done) == sorted(expected)
    assert sorted(complete) == sorted(ids)


def test_a_chunk_knows_its_rows() -> None:
    shard = SourceShard(id="s", number=0, path="s.tar")
    chunk = Chunk(shard=shard, digest="d", number=1, first=256, missing=(0b101, 0b100))
    assert chunk.rows() == [256, 258]
    assert chunk.requests == 3
    assert (chunk.asks(256, 0), chunk.asks(256, 1), chunk.asks(258, 1)) == (True, False, True)


def test_capacity_must_be_positive() -> None:
    with pytest.raises(AssertionError):
        Scheduler().actor_ready(0, 0)
