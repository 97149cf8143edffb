"""The scheduler as a state machine: nothing lost, nothing twice, everyone kept busy, poison found and nothing else."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_world import World, asked, listing, masked

from recaption.generate.chunks import Chunk
from recaption.generate.engine_state import MAX_CHUNKS, Assignment
from recaption.generate.scheduler import AHEAD, GROUP, Scheduler
from recaption.types import SourceShard


def numbers(assignments: list[Assignment]) -> list[int]:
    return [assignment.chunk.number for assignment in assignments]


def recheck_all(scheduler: Scheduler) -> None:
    """Nothing of what came back was answered."""
    for assignment in scheduler.to_recheck():
        scheduler.rechecked(assignment, assignment.chunk)


def test_an_actor_is_kept_ahead_by_a_multiple_of_its_capacity() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [100] * 10))
    scheduler.actor_ready(7, capacity=100)
    given_out = scheduler.assign()
    assert numbers(given_out) == list(range(AHEAD))
    assert scheduler.queued == 100 * (10 - AHEAD)
    assert scheduler.assign() == []
    scheduler.done(given_out[0], given_out[0].chunk)
    assert numbers(scheduler.assign()) == [AHEAD]


def test_what_an_actor_says_it_has_settled_makes_room_for_more() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [100] * 10))
    scheduler.actor_ready(0, capacity=100)
    first, second, third = scheduler.assign()
    scheduler.polled(0, {first.id: (1, 0), second.id: (100, 100), third.id: (100, 100)})
    assert numbers(scheduler.assign()) == [3]


def test_the_number_of_chunks_at_an_actor_has_a_bound_however_small_they_are() -> None:
    for capacity, most in ((22, MAX_CHUNKS[0]), (100, 200), (1000, MAX_CHUNKS[1])):
        scheduler = Scheduler()
        scheduler.listed(listing(0, [1] * (most + 2)))
        scheduler.actor_ready(0, capacity=capacity)
        given_out = scheduler.assign()
        assert len(given_out) == most
        scheduler.done(given_out[5], given_out[5].chunk)
        assert numbers(scheduler.assign()) == [most]


def test_the_emptiest_actor_is_served_first() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10] * 4))
    scheduler.actor_ready(0, capacity=10)
    scheduler.actor_ready(1, capacity=20)
    assert [a.actor for a in scheduler.assign()] == [0, 1, 1, 0]


def test_a_retiring_actor_gets_nothing_more() -> None:
    scheduler = Scheduler()
    scheduler.actor_ready(0, capacity=10)
    scheduler.actor_ready(1, capacity=10)
    scheduler.retire(0)
    scheduler.listed(listing(0, [10] * 4))
    assert {a.actor for a in scheduler.assign()} == {1}


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
    assert scheduler.waiting


# lost actors


def test_what_a_lost_actor_had_waits_to_be_narrowed_and_then_goes_first() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10] * 6))
    scheduler.actor_ready(0, capacity=10)
    taken = numbers(scheduler.assign())
    assert numbers(scheduler.lost(0)) == taken
    assert scheduler.lost(0) == []
    scheduler.actor_ready(1, capacity=100)
    recheck_all(scheduler)
    again = scheduler.assign()
    assert sorted(numbers(again)[: len(taken)]) == taken
    assert numbers(again)[len(taken) :] == [3, 4, 5]


def test_what_was_put_before_an_actor_was_lost_is_not_asked_again() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10]))
    scheduler.actor_ready(0, capacity=10)
    scheduler.assign()
    (back,) = scheduler.lost(0)
    scheduler.rechecked(back, back.chunk.only([7, 8]))
    scheduler.actor_ready(1, capacity=10)
    (rest,) = scheduler.assign()
    assert rest.chunk.rows() == [7, 8]
    scheduler.done(rest, rest.chunk)
    assert len(scheduler.completed()) == 1


def test_rows_that_were_in_the_engine_get_a_strike_and_the_others_none() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10, 10]))
    scheduler.actor_ready(0, capacity=10)
    first, second = scheduler.assign()
    scheduler.lost(0, {first.id: (3, 4), second.id: ()})
    recheck_all(scheduler)
    scheduler.actor_ready(1, capacity=10)
    crashes = {(a.chunk.number, row): a.crashes for a in scheduler.assign() for row in a.chunk.rows()}
    assert [place for place, count in crashes.items() if count] == [(0, 3), (0, 4)]
    assert len(crashes) == 20


def test_when_an_actor_cannot_tell_its_first_chunk_and_those_begun_are_struck() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10] * 3))
    scheduler.actor_ready(0, capacity=10)
    first, second, third = scheduler.assign()
    scheduler.polled(0, {first.id: (10, 10), second.id: (10, 9), third.id: (10, 10)})
    scheduler.lost(0)
    recheck_all(scheduler)
    scheduler.actor_ready(1, capacity=10)
    assert {a.chunk.number: a.crashes for a in scheduler.assign()} == {0: 1, 1: 1, 2: 0}


def test_a_shard_whose_rest_was_given_back_before_its_actor_was_lost_still_completes() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10]))
    scheduler.all_listed()
    scheduler.actor_ready(0, capacity=10)
    (assignment,) = scheduler.assign()
    scheduler.given_back(assignment, assignment.chunk)
    scheduler.actor_ready(1, capacity=1000)
    scheduler.retire(0)
    (again,) = scheduler.assign()
    scheduler.done(again, again.chunk)
    scheduler.lost(0, {assignment.id: ()})
    recheck_all(scheduler)
    assert scheduler.finished


# what could not be read, or was handed back


def test_what_could_not_be_read_goes_to_the_end_and_counts_its_attempts() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10] * 5))
    scheduler.actor_ready(0, capacity=10)
    first = scheduler.assign()[0]
    scheduler.failed(first)
    (returned,) = scheduler.to_recheck()
    assert (returned.attempt, returned.chunk) == (1, first.chunk)
    scheduler.rechecked(returned, first.chunk.only([9]))
    scheduler.actor_ready(1, capacity=1000)
    last = scheduler.assign()[-1]
    assert (last.chunk.number, last.chunk.rows(), last.attempt, last.crashes) == (0, [9], 1, 0)


def test_what_an_actor_gave_up_in_order_goes_first_without_a_strike() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10] * 5))
    scheduler.actor_ready(0, capacity=10)
    first = scheduler.assign()[0]
    scheduler.retire(0)
    scheduler.returned(first)
    recheck_all(scheduler)
    scheduler.actor_ready(1, capacity=1)
    (again,) = scheduler.assign()
    assert (again.chunk, again.crashes, again.attempt) == (first.chunk, 0, 0)


# the tail


def two_at_the_tail(requests: int, questions: int = 1) -> tuple[Scheduler, Assignment]:
    """A chunk at one actor, and another actor that has nothing to do."""
    scheduler = Scheduler()
    scheduler.listed(listing(0, [requests], questions))
    scheduler.all_listed()
    scheduler.actor_ready(0, capacity=100)
    (assignment,) = scheduler.assign()
    scheduler.actor_ready(1, capacity=100)
    return scheduler, assignment


def test_half_of_what_a_busy_actor_has_not_begun_is_asked_back_for_an_idle_one() -> None:
    scheduler, assignment = two_at_the_tail(100)
    (steal,) = scheduler.steals()
    assert (steal.assignment, steal.requests) == (assignment, 50)
    assert scheduler.steals() == [], "one at a time from each"
    scheduler.given_back(assignment, assignment.chunk.only(range(50, 100)))
    (stolen,) = scheduler.assign()
    assert (stolen.actor, stolen.chunk.rows()) == (1, list(range(50, 100)))
    scheduler.done(assignment, assignment.chunk.only(range(50)))
    assert scheduler.completed() == []
    scheduler.done(stolen, stolen.chunk)
    assert scheduler.finished


def test_what_was_given_back_is_asked_again_though_the_reply_comes_after_the_end() -> None:
    scheduler, assignment = two_at_the_tail(100)
    scheduler.steals()
    scheduler.done(assignment, assignment.chunk.only(range(60)))
    (rest,) = scheduler.assign()
    assert rest.chunk.rows() == list(range(60, 100))
    scheduler.given_back(assignment, assignment.chunk.only(range(60, 100)))
    assert scheduler.assign() == [] and scheduler.queued == 0
    scheduler.done(rest, rest.chunk)
    assert scheduler.finished


def test_what_was_given_back_by_a_lost_actor_comes_back_once() -> None:
    scheduler, assignment = two_at_the_tail(100)
    scheduler.steals()
    (back,) = scheduler.lost(0, {assignment.id: ()})
    scheduler.given_back(assignment, assignment.chunk.only(range(60, 100)))
    assert scheduler.assign() == []
    scheduler.rechecked(back, back.chunk)
    (again,) = scheduler.assign()
    assert again.chunk == assignment.chunk


def test_nothing_is_asked_back_while_something_waits() -> None:
    scheduler, _ = two_at_the_tail(100)
    scheduler.listed(listing(1, [10]))
    assert scheduler.steals() == []


def test_an_actor_that_has_nothing_to_give_back_is_not_asked() -> None:
    scheduler, assignment = two_at_the_tail(100)
    scheduler.polled(0, {assignment.id: (100, 0)})
    assert scheduler.steals() == []


@pytest.mark.parametrize("questions", [1, 2, 3])
@pytest.mark.parametrize("images", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("capacities", [(100, 100, 100), (1000, 10, 100), (10, 1000, 100)])
def test_work_that_nobody_begins_is_not_passed_to_and_fro(
    questions: int, images: int, capacities: tuple[int, ...]
) -> None:
    """Reading may take longer than a round: who steals from each other for ever never reads anything."""
    scheduler = Scheduler()
    scheduler.listed(listing(0, [images], questions))
    running = {}
    for number, capacity in enumerate(capacities):
        scheduler.actor_ready(number, capacity)
    for _ in range(50):
        for assignment in scheduler.assign():
            running[assignment.id] = assignment.chunk
        steals = scheduler.steals()
        for steal in steals:
            chunk = running[steal.assignment.id]
            rows = chunk.rows()[-max(1, steal.requests // questions) :]  # as Work.give_back has it
            running[steal.assignment.id] = chunk.without(rows)
            scheduler.given_back(steal.assignment, chunk.only(rows))
    assert not steals


# quarantine


def kill(scheduler: Scheduler, actor: int, rows: list[int] | None = None) -> None:
    """The actor dies; `rows` were in its engine."""
    running = scheduler.engines[actor].running.values()
    suspects = None if rows is None else {a.id: [r for r in rows if r in a.chunk.rows()] for a in running}
    scheduler.lost(actor, suspects)
    recheck_all(scheduler)


def test_what_was_at_two_deaths_is_asked_in_small_groups_then_alone_and_then_it_is_poison() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [20]))
    scheduler.all_listed()
    for actor in range(2):
        scheduler.actor_ready(actor, capacity=100)
        scheduler.assign()
        kill(scheduler, actor, rows=list(range(20)))
    assert scheduler.in_quarantine == 20 and scheduler.queued == 0
    asked_for, poisoned = [], []
    for actor in range(2, 8):
        scheduler.actor_ready(actor, capacity=100)
        while assignments := scheduler.assign():
            (assignment,) = assignments
            asked_for.append(len(assignment.chunk.rows()))
            assert assignment.quarantined
            if 5 in assignment.chunk.rows():
                kill(scheduler, actor)
                break
            scheduler.done(assignment, assignment.chunk)
        poisoned += scheduler.poison()
    assert asked_for == [GROUP] + [1] * 6 + [1] + [1] * 10 + [20 - GROUP]
    assert [chunk.rows() for chunk in poisoned] == [[5]]
    assert not scheduler.finished
    scheduler.poison_stored(poisoned[0])
    assert scheduler.finished


def quarantined(scheduler: Scheduler, shard: int = 9) -> None:
    """Have one image in quarantine."""
    scheduler.listed(listing(shard, [1]))
    for actor in (100, 101):
        scheduler.actor_ready(actor, capacity=1)
        scheduler.assign()
        kill(scheduler, actor, rows=[0])
    assert scheduler.in_quarantine == 1


def test_one_of_several_actors_attends_to_the_quarantine_and_gets_nothing_else() -> None:
    scheduler = Scheduler()
    quarantined(scheduler)
    scheduler.actor_ready(0, capacity=10)
    scheduler.actor_ready(1, capacity=10)
    scheduler.listed(listing(0, [10] * 10))
    given_out = scheduler.assign()
    ward = next(a.actor for a in given_out if a.quarantined)
    assert [a.quarantined for a in given_out if a.actor == ward] == [True]
    assert scheduler.assign() == [], "also later, when nothing else waits in quarantine"
    alone = next(a for a in given_out if a.quarantined)
    scheduler.done(alone, alone.chunk)
    assert {a.actor for a in scheduler.assign()} == {ward}, "afterwards it is one of them again"


def test_a_single_actor_attends_to_the_quarantine_last() -> None:
    scheduler = Scheduler()
    quarantined(scheduler)
    scheduler.listed(listing(0, [10] * 5))
    scheduler.actor_ready(0, capacity=10)
    order: list[bool] = []
    while assignments := scheduler.assign():
        for assignment in assignments:
            order.append(assignment.quarantined)
            scheduler.done(assignment, assignment.chunk)
    assert order == [False] * 5 + [True]


def test_what_is_in_quarantine_is_not_given_back_for_idle_actors() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [GROUP]))
    for actor in (0, 1):
        scheduler.actor_ready(actor, capacity=100)
        scheduler.assign()
        kill(scheduler, actor, rows=list(range(GROUP)))
    scheduler.actor_ready(2, capacity=100)
    scheduler.actor_ready(3, capacity=100)
    (assignment,) = scheduler.assign()
    assert assignment.quarantined
    assert scheduler.steals() == []


def test_an_image_that_was_handed_back_alone_keeps_the_kill_it_has() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [1]))
    for actor in range(3):  # twice at other engines, once in quarantine
        scheduler.actor_ready(actor, capacity=1)
        scheduler.assign()
        kill(scheduler, actor, rows=[0])
    scheduler.actor_ready(3, capacity=1)
    (alone,) = scheduler.assign()
    assert alone.solo_crashes == 1
    scheduler.retire(3)
    scheduler.returned(alone)
    recheck_all(scheduler)
    scheduler.actor_ready(4, capacity=1)
    (again,) = scheduler.assign()
    assert (again.quarantined, again.solo_crashes) == (True, 1)


# whatever happens


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shards=st.lists(st.lists(st.integers(0, 12), max_size=5), max_size=4),
    questions=st.integers(1, 3),
    poison=st.integers(0, 3),
    mishaps=st.integers(0, 6),
)
def test_whatever_dies_everything_is_settled_once_and_only_poison_is_poison(
    seed: int, shards: list[list[int]], questions: int, poison: int, mishaps: int
) -> None:
    rng = random.Random(seed)
    listings = []
    for number, sizes in enumerate(shards):
        masks = [tuple(rng.getrandbits(size) if size else 0 for _ in range(questions)) for size in sizes]
        listings.append(masked(number, masks))
    rows = sorted({(shard, row) for each in listings for c in each.chunks for shard, row, _ in asked(c)})
    poisonous = set(rng.sample(rows, min(poison, len(rows))))
    World(rng, listings, poisonous, mishaps=mishaps).run(most_steps=40_000)


def test_a_large_chunk_with_poison_in_it_comes_through() -> None:
    poison = {("00000", 17), ("00000", 18), ("00000", 80)}
    World(random.Random(0), [listing(0, [100, 20]), listing(1, [10])], poison, mishaps=3).run(most_steps=60_000)


# chunks' own


def test_a_chunk_knows_its_rows() -> None:
    shard = SourceShard(id="s", number=0, path="s.tar")
    chunk = Chunk(shard=shard, digest="d", number=1, first=256, missing=(0b101, 0b100))
    assert chunk.rows() == [256, 258]
    assert chunk.requests == 3
    assert (chunk.asks(256, 0), chunk.asks(256, 1), chunk.asks(258, 1)) == (True, False, True)


def test_capacity_must_be_positive() -> None:
    with pytest.raises(AssertionError):
        Scheduler().actor_ready(0, 0)
