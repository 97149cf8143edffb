"""One run per output."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from recaption.errors import Interrupted, StoreError, UserError
from recaption.io.store import LocalStore, ObjectStore, Store, open_store
from recaption.output import lease as module
from recaption.output.lease import STALE_SECONDS, Lease, claim


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "out") if request.param == "local" else f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def take(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Lease]]:
    """`claim`, without the thread that beats; what it gave is forgotten after the test."""
    taken: list[Lease] = []

    def call(store: Store, **options: Any) -> Lease:
        taken.append(claim(store, **options))
        return taken[-1]

    monkeypatch.setattr(Lease, "start", lambda self: None)
    yield call
    for lease in taken:
        module._OWN.discard(lease._token)


class Clock:
    """Stands still but for `sleep`. `during` is called with the time after every sleep."""

    def __init__(self, during: Callable[[float], None] = lambda now: None) -> None:
        self.now, self.during = 0.0, during

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        self.during(self.now)


def hold(store: Store, epoch: int = 4, **changes: object) -> None:
    """A lease as another process would hold it: this one's parent, if nothing else is said."""
    pid = int(str(changes.get("pid", os.getppid())))
    who = {**module._me(), "pid": pid, "started": module._started(pid), "since": 0.0, "token": "another", **changes}
    store.put(f"lease/{epoch:06d}.json", orjson.dumps(who))


def test_epochs_count_the_runs(store: Store, take: Callable[..., Lease]) -> None:
    for epoch in (1, 2, 3):
        lease = take(store)
        assert lease.epoch == epoch
        lease.release()


def test_a_second_run_is_refused_while_the_first_goes_on(store: Store, take: Callable[..., Lease]) -> None:
    lease = take(store)
    with pytest.raises(UserError, match=f"written by process {os.getpid()} on {socket.gethostname()} .*--takeover"):
        take(store)
    lease.release()
    assert take(store).epoch == 2


def test_a_second_process_is_refused_while_the_first_lives(tmp_path: Path, take: Callable[..., Lease]) -> None:
    code = f"""
import sys
from recaption.output.lease import claim
from recaption.io.store import LocalStore
claim(LocalStore({str(tmp_path)!r}))
print("taken", flush=True)
sys.stdin.read()
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout and process.stdout.readline() == "taken\n"
        with pytest.raises(UserError, match=f"written by process {process.pid} "):
            take(LocalStore(tmp_path), sleep=never)
        process.kill()
        # Dead, but nobody has waited for it yet: its number is still taken.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert take(LocalStore(tmp_path), sleep=never).epoch == 2


def never(seconds: float) -> None:
    raise AssertionError("waited")


def test_a_living_process_on_this_host_is_refused_at_once(store: Store, take: Callable[..., Lease]) -> None:
    hold(store)
    with pytest.raises(UserError, match=f"written by process {os.getppid()} .*--takeover"):
        take(store, sleep=never)
    assert take(store, takeover=True, sleep=never).epoch == 5


def test_a_dead_process_is_taken_over_at_once(store: Store, take: Callable[..., Lease]) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    hold(store, pid=dead.pid, started=1)
    assert take(store, sleep=never).epoch == 5


def test_a_process_number_that_is_used_again_counts_as_dead(store: Store, take: Callable[..., Lease]) -> None:
    hold(store, started=(module._started(os.getppid()) or 0) - 1)
    assert take(store, sleep=never).epoch == 5


def test_a_lease_that_this_process_failed_to_give_back_is_its_own(store: Store, take: Callable[..., Lease]) -> None:
    hold(store, pid=os.getpid())
    assert take(store, sleep=never).epoch == 5


ELSEWHERE = [{"host": "elsewhere"}, {"boot": "another"}, {"pids": "pid:[1]"}]


@pytest.mark.parametrize("where", ELSEWHERE, ids=["host", "boot", "container"])
def test_one_elsewhere_that_gives_no_sign_of_life_is_taken_over(
    store: Store, take: Callable[..., Lease], where: dict[str, str]
) -> None:
    hold(store, **where)
    store.put("lease/000004.beat", b"7")
    clock, said = Clock(), list[str]()
    lease = take(store, clock=clock, sleep=clock.sleep, say=said.append)
    assert (lease.epoch, clock.now) == (5, STALE_SECONDS)
    assert len(said) == 1 and f"process {os.getppid()} on {where.get('host', '')}" in said[0] and "45 s" in said[0]


def test_one_elsewhere_that_never_beat_is_taken_over(store: Store, take: Callable[..., Lease]) -> None:
    hold(store, host="elsewhere")
    clock = Clock()
    assert take(store, clock=clock, sleep=clock.sleep, wait=20.0).epoch == 5
    assert clock.now == 20.0


@pytest.mark.parametrize("before", [b"7", None])
def test_one_elsewhere_that_beats_is_refused(store: Store, take: Callable[..., Lease], before: bytes | None) -> None:
    hold(store, host="elsewhere")
    if before:
        store.put("lease/000004.beat", before)
    clock = Clock(lambda now: now >= 40 and store.put("lease/000004.beat", b"8"))  # type: ignore[arg-type,return-value]
    with pytest.raises(UserError, match=rf"written by process {os.getppid()} on elsewhere \(started .*--takeover"):
        take(store, clock=clock, sleep=clock.sleep)
    assert 40 <= clock.now < STALE_SECONDS
    assert not store.exists("lease/000005.json")


def test_one_elsewhere_that_ends_in_order_is_not_waited_for_any_longer(
    store: Store, take: Callable[..., Lease]
) -> None:
    hold(store, host="elsewhere")
    clock = Clock(lambda now: now >= 6 and store.put("lease/000004.released", b""))  # type: ignore[arg-type,return-value]
    assert take(store, clock=clock, sleep=clock.sleep).epoch == 5
    assert clock.now < 12


def test_another_that_takes_over_meanwhile_is_the_one_that_counts(store: Store, take: Callable[..., Lease]) -> None:
    hold(store, host="elsewhere")
    clock = Clock(lambda now: hold(store, epoch=5) if now >= 6 else None)  # by a living process of this host
    with pytest.raises(UserError, match=f"written by process {os.getppid()} on {socket.gethostname()} "):
        take(store, clock=clock, sleep=clock.sleep)
    assert clock.now < 12


def test_takeover_waits_for_nobody(store: Store, take: Callable[..., Lease]) -> None:
    hold(store, host="elsewhere")
    assert take(store, takeover=True, sleep=never).epoch == 5


def test_a_store_without_conditional_writes_needs_the_users_word(take: Callable[..., Lease]) -> None:
    store = ObjectStore(f"memory://{uuid.uuid4().hex}")
    store.conditional = False
    with pytest.raises(UserError, match=r"no conditional writes.*--takeover"):
        take(store)
    assert list(store.list("lease")) == []
    assert take(store, takeover=True).epoch == 1


def test_a_store_that_ignores_the_condition_is_found_out(
    tmp_path: Path, take: Callable[..., Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = LocalStore.put

    def put(self: LocalStore, path: str, data: bytes, *, if_absent: bool = False) -> bool:
        real(self, path, data)
        return real(self, path, data.replace(b'"token":"', b'"token":"other'))  # who came a moment later

    monkeypatch.setattr(LocalStore, "put", put)
    with pytest.raises(UserError, match="another run has just taken"):
        take(LocalStore(tmp_path))
    assert not module._OWN


def test_of_many_that_claim_at_once_one_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for turn in range(5):
        store, start = LocalStore(tmp_path / str(turn)), threading.Barrier(6)
        won: list[Lease] = []
        lost: list[str] = []

        def run(
            store: Store = store,
            start: threading.Barrier = start,
            won: list[Lease] = won,
            lost: list[str] = lost,
        ) -> None:
            start.wait()
            try:
                won.append(claim(store))
            except UserError as error:
                lost.append(str(error))

        threads = [threading.Thread(target=run) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [lease.epoch for lease in won] == [1] and len(lost) == 5
        won[0].release()


def test_the_holder_beats_until_it_gives_the_lease_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.01)
    lease = claim(store)
    try:
        seen = {module._beat(store, 1)}
        while len(seen) < 4:  # the test's time limit is the end of it
            seen.add(module._beat(store, 1))
            time.sleep(0.005)
    finally:
        lease.release()
    assert not lease._thread.is_alive()
    assert store.exists("lease/000001.released") and not lease.lost
    lease.check()


def test_the_holder_notices_that_another_took_over(store: Store, take: Callable[..., Lease]) -> None:
    first = take(store)
    first.beat()
    first.check()
    second = take(store, takeover=True)
    before = store.get("lease/000001.beat")
    first.beat()
    assert first.lost and not second.lost and store.get("lease/000001.beat") == before
    with pytest.raises(Interrupted, match="another run took over"):
        first.check()
    first.release()
    with pytest.raises(UserError, match="is being written"):  # what the first gave back was not the second's
        take(store)


def test_beats_may_fail_for_a_while(
    tmp_path: Path, take: Callable[..., Lease], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, store = Clock(), LocalStore(tmp_path)
    lease = take(store, clock=clock)
    lease.beat()
    with monkeypatch.context() as broken:

        def fails(*args: object, **options: object) -> bool:
            raise StoreError("cannot write lease/000001.beat: out of reach")

        broken.setattr(LocalStore, "put", fails)
        clock.now = STALE_SECONDS
        lease.beat()
        lease.check()
        clock.now = STALE_SECONDS + 1
        with pytest.raises(StoreError, match=r"the lease could not be renewed for 46 s: .*out of reach"):
            lease.check()
    lease.beat()
    lease.check()


def test_giving_back_does_not_wait_for_a_store_that_does_not_answer(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RELEASE_SECONDS", 0.01)
    lease, go, real = claim(store), threading.Event(), store.put

    def silent(path: str, data: bytes, *, if_absent: bool = False) -> bool:
        assert go.wait(120)
        return real(path, data, if_absent=if_absent)

    monkeypatch.setattr(store, "put", silent)
    try:
        with pytest.raises(StoreError, match="did not respond for 0 s; the lease is not released"):
            lease.release()
    finally:
        go.set()
