"""Images that crash engines: retried in isolation, and rejected as poison if they do it again."""

from __future__ import annotations

from scheduler_world import listing, recheck_all

from recaption.generate.poison import GROUP
from recaption.generate.scheduler import Scheduler


def kill(scheduler: Scheduler, actor: int, rows: list[int] | None = None) -> None:
    """The engine crashes; `rows` were in flight."""
    running = scheduler.engines[actor].running.values()
    suspects = None if rows is None else {a.id: [r for r in rows if r in a.chunk.rows()] for a in running}
    scheduler.lost(actor, suspects)
    recheck_all(scheduler)


def test_images_in_flight_during_two_crashes_are_retried_in_groups_then_alone_and_rejected_as_poison() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [20]))
    scheduler.all_listed()
    for actor in range(2):
        scheduler.actor_ready(actor, capacity=100)
        scheduler.assign()
        kill(scheduler, actor, rows=list(range(20)))
    assert scheduler.in_quarantine == 20 and scheduler.queued == 0
    sizes, poisoned = [], []
    for actor in range(2, 8):
        scheduler.actor_ready(actor, capacity=100)
        while assignments := scheduler.assign():
            (assignment,) = assignments
            sizes.append(len(assignment.chunk.rows()))
            assert assignment.quarantined
            if 5 in assignment.chunk.rows():
                kill(scheduler, actor)
                break
            scheduler.done(assignment, assignment.chunk)
        poisoned += scheduler.poison()
    assert sizes == [GROUP] + [1] * 6 + [1] + [1] * 10 + [20 - GROUP]
    assert [chunk.rows() for chunk in poisoned] == [[5]]
    assert not scheduler.finished
    scheduler.poison_stored(poisoned[0])
    assert scheduler.finished


def quarantined(scheduler: Scheduler, shard: int = 9) -> None:
    """Put one image into quarantine."""
    scheduler.listed(listing(shard, [1]))
    for actor in (100, 101):
        scheduler.actor_ready(actor, capacity=1)
        scheduler.assign()
        kill(scheduler, actor, rows=[0])
    assert scheduler.in_quarantine == 1


def test_one_of_several_engines_works_on_the_quarantine_and_gets_no_other_work() -> None:
    scheduler = Scheduler()
    quarantined(scheduler)
    scheduler.actor_ready(0, capacity=10)
    scheduler.actor_ready(1, capacity=10)
    scheduler.listed(listing(0, [10] * 10))
    given_out = scheduler.assign()
    isolated = next(a.actor for a in given_out if a.quarantined)
    assert [a.quarantined for a in given_out if a.actor == isolated] == [True]
    assert scheduler.assign() == [], "also when nothing else waits in quarantine"
    alone = next(a for a in given_out if a.quarantined)
    scheduler.done(alone, alone.chunk)
    assert {a.actor for a in scheduler.assign()} == {isolated}, "afterwards it gets other work again"


def test_a_single_engine_works_on_the_quarantine_last() -> None:
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


def test_idle_engines_take_no_work_in_quarantine() -> None:
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


def test_an_image_that_is_returned_keeps_its_count_of_crashes_in_isolation() -> None:
    scheduler = Scheduler()
    scheduler.listed(listing(0, [1]))
    for actor in range(3):  # two crashes among others, one in quarantine
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
