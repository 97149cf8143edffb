"""The scheduler as a state machine: no request is lost or sent twice, engines stay busy, only poison is poison."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scheduler_world import World, asked, listing, masked, recheck_all

from recaption.generate.engine_state import MAX_CHUNKS, Assignment, EngineState
from recaption.generate.scheduler import AHEAD, Scheduler


def numbers(assignments: list[Assignment]) -> list[int]:
    return [assignment.chunk.number for assignment in assignments]


def test_an_engine_gets_a_multiple_of_its_capacity_in_advance() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [100] * 10))
    scheduler.actor_ready(7, capacity=100)
    given_out = scheduler.assign()
    assert numbers(given_out) == list(range(AHEAD))
    assert scheduler.queued == 100 * (10 - AHEAD)
    assert scheduler.assign() == []
    scheduler.done(given_out[0], given_out[0].chunk)
    assert numbers(scheduler.assign()) == [AHEAD]


def test_requests_that_a_poll_reports_as_finished_make_room_for_more() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [100] * 10))
    scheduler.actor_ready(0, capacity=100)
    first, second, third = scheduler.assign()
    scheduler.polled(0, {first.id: (1, 0), second.id: (100, 100), third.id: (100, 100)})
    assert numbers(scheduler.assign()) == [3]


def test_the_number_of_chunks_per_engine_is_bounded() -> None:
    for capacity, most in ((22, MAX_CHUNKS[0]), (100, 200), (1000, MAX_CHUNKS[1])):
        scheduler = Scheduler()
        scheduler.listed(listing(0, [1] * (most + 2)))
        scheduler.actor_ready(0, capacity=capacity)
        given_out = scheduler.assign()
        assert len(given_out) == most
        scheduler.done(given_out[5], given_out[5].chunk)
        assert numbers(scheduler.assign()) == [most]


def test_the_engine_with_the_lowest_load_gets_work_first() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10] * 4))
    scheduler.actor_ready(0, capacity=10)
    scheduler.actor_ready(1, capacity=20)
    assert [a.actor for a in scheduler.assign()] == [0, 1, 1, 0]


def test_a_retiring_engine_gets_no_more_work() -> None:
    scheduler = Scheduler()
    scheduler.actor_ready(0, capacity=10)
    scheduler.actor_ready(1, capacity=10)
    scheduler.retire(0)
    scheduler.listed(listing(0, [10] * 4))
    assert {a.actor for a in scheduler.assign()} == {1}


def test_a_shard_is_complete_once_its_last_chunk_is_or_if_it_has_none() -> None:
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


def test_more_shards_are_listed_only_while_few_requests_wait() -> None:
    scheduler = Scheduler()
    assert scheduler.wants_shards(100)
    scheduler.listed(listing(0, [256]))
    assert not scheduler.wants_shards(100)
    scheduler.all_listed()
    assert not scheduler.wants_shards(10_000)


def test_without_engines_nothing_is_assigned() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10]))
    assert scheduler.assign() == []
    assert scheduler.waiting


# lost actors


def test_work_of_a_lost_engine_is_rechecked_and_then_goes_first() -> None:
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


def test_answers_stored_before_an_engine_was_lost_are_not_requested_again() -> None:
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


def test_a_crash_counts_for_the_rows_in_flight_only() -> None:
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


def test_a_crash_without_a_report_counts_for_the_first_chunk_and_those_started() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10] * 3))
    scheduler.actor_ready(0, capacity=10)
    first, second, third = scheduler.assign()
    scheduler.polled(0, {first.id: (10, 10), second.id: (10, 9), third.id: (10, 10)})
    scheduler.lost(0)
    recheck_all(scheduler)
    scheduler.actor_ready(1, capacity=10)
    assert {a.chunk.number: a.crashes for a in scheduler.assign()} == {0: 1, 1: 1, 2: 0}


def test_what_an_engine_has_crashed_with_before_counts_wherever_it_stands_in_the_next_one() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [10]))
    scheduler.actor_ready(0, capacity=10)
    scheduler.assign()
    scheduler.actor_ready(1, capacity=10)
    scheduler.listed(listing(1, [10]))
    (ahead,) = scheduler.assign()
    assert ahead.actor == 1
    scheduler.lost(0)
    recheck_all(scheduler)
    (suspect,) = scheduler.assign()
    assert (suspect.actor, suspect.crashes) == (1, 1), "it stands behind other work, and no poll says that it has started"
    scheduler.lost(1)
    recheck_all(scheduler)
    assert scheduler.in_quarantine == 10


def test_a_shard_completes_if_its_rest_was_given_back_before_its_engine_was_lost() -> None:
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


def test_unreadable_work_goes_to_the_end_of_the_queue_and_counts_its_attempts() -> None:
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


def test_work_of_a_drained_engine_goes_first_without_a_crash() -> None:
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


def test_an_idle_engine_takes_half_of_the_requests_that_a_busy_one_has_not_started() -> None:
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


def test_work_that_was_given_back_is_assigned_again_if_the_reply_comes_after_the_end() -> None:
    scheduler, assignment = two_at_the_tail(100)
    scheduler.steals()
    scheduler.done(assignment, assignment.chunk.only(range(60)))
    (rest,) = scheduler.assign()
    assert rest.chunk.rows() == list(range(60, 100))
    scheduler.given_back(assignment, assignment.chunk.only(range(60, 100)))
    assert scheduler.assign() == [] and scheduler.queued == 0
    scheduler.done(rest, rest.chunk)
    assert scheduler.finished


def test_work_that_a_lost_engine_gave_back_returns_once() -> None:
    scheduler, assignment = two_at_the_tail(100)
    scheduler.steals()
    (back,) = scheduler.lost(0, {assignment.id: ()})
    scheduler.given_back(assignment, assignment.chunk.only(range(60, 100)))
    assert scheduler.assign() == []
    scheduler.rechecked(back, back.chunk)
    (again,) = scheduler.assign()
    assert again.chunk == assignment.chunk


def test_nothing_is_taken_from_an_engine_while_work_waits() -> None:
    scheduler, _ = two_at_the_tail(100)
    scheduler.listed(listing(1, [10]))
    assert scheduler.steals() == []


def test_nothing_is_taken_from_an_engine_that_has_started_everything() -> None:
    scheduler, assignment = two_at_the_tail(100)
    scheduler.polled(0, {assignment.id: (100, 0)})
    assert scheduler.steals() == []


@pytest.mark.parametrize("questions", [1, 2, 3])
@pytest.mark.parametrize("images", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("capacities", [(100, 100, 100), (1000, 10, 100), (10, 1000, 100)])
def test_work_that_is_not_started_does_not_move_back_and_forth(
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


def surplus(scheduler: Scheduler) -> list[int]:
    return [engine.number for engine in scheduler.surplus()]


def test_an_engine_is_surplus_once_all_requests_are_in_other_engines() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [100]))
    scheduler.actor_ready(0, capacity=100)
    assert surplus(scheduler) == [], "requests wait in the queue"
    (assignment,) = scheduler.assign()
    scheduler.actor_ready(1, capacity=100)
    scheduler.engines[2] = EngineState(number=2)  # starting
    assert surplus(scheduler) == [], "engine 0 has not started all of its requests: the others can take some"
    scheduler.polled(0, {assignment.id: (100, 0)})
    assert surplus(scheduler) == [], "more shards may be listed"
    scheduler.all_listed()
    assert surplus(scheduler) == [1, 2]
    scheduler.retire(1)
    assert surplus(scheduler) == [2], "an engine that is drained is removed in another way"


def test_no_engine_is_surplus_while_work_is_on_its_way_to_the_queue() -> None:
    scheduler, assignment = two_at_the_tail(100)
    (steal,) = scheduler.steals()
    scheduler.polled(0, {assignment.id: (50, 0)})  # the other 50 are given back; the reply comes later
    assert surplus(scheduler) == []
    scheduler.given_back(steal.assignment, assignment.chunk.only(range(50, 100)))
    (stolen,) = scheduler.assign()
    scheduler.done(stolen, stolen.chunk)
    assert surplus(scheduler) == [1]
    scheduler.retire(0)
    assert surplus(scheduler) == [], "engine 0 fails: its requests come back"
    scheduler.lost(0)
    assert surplus(scheduler) == [], "its answers are looked up in the store"
    recheck_all(scheduler)
    assert surplus(scheduler) == [], "they wait in the queue"
    (again,) = scheduler.assign()
    assert again.actor == 1


def test_one_idle_engine_is_kept_while_an_image_is_retried_in_isolation() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [1]))
    scheduler.all_listed()
    for actor in range(2):
        scheduler.actor_ready(actor, capacity=1)
        (assignment,) = scheduler.assign()
        scheduler.lost(actor, {assignment.id: (0,)})
        recheck_all(scheduler)
    scheduler.engines[2] = EngineState(number=2)  # starting
    for actor in (3, 4, 5):
        scheduler.actor_ready(actor, capacity=1)
    assert surplus(scheduler) == []
    (alone,) = scheduler.assign()
    assert (alone.actor, surplus(scheduler)) == (3, [5, 2])


# whatever happens


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    shards=st.lists(st.lists(st.integers(0, 12), max_size=5), max_size=4),
    questions=st.integers(1, 3),
    poison=st.integers(0, 3),
    mishaps=st.integers(0, 6),
)
def test_after_any_crashes_each_request_has_one_result_and_only_poison_is_poison(
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


def test_a_large_chunk_with_poison_in_it_completes() -> None:
    poison = {("00000", 17), ("00000", 18), ("00000", 80)}
    World(random.Random(0), [listing(0, [100, 20]), listing(1, [10])], poison, mishaps=3).run(most_steps=60_000)


def test_capacity_must_be_positive() -> None:
    with pytest.raises(AssertionError):
        Scheduler().actor_ready(0, 0)
