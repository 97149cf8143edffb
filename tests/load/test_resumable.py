"""A resumed run gets what the uninterrupted one would have got: every sample and every text, whatever the workers."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loading import lines_until, two_texts

from recaption.errors import DatasetError, UserError
from recaption.load import CaptionDataset, loader, policy
from recaption.load.resumable import BatchSchedule

Built = Callable[[str], Path]


GLOBAL_BATCH = 8  # 48 train samples: 6 steps an epoch


Line = tuple[int, list[str], list[list[str]]]


def dataset(out: Path, rank: int = 0, world_size: int = 2, **options: Any) -> CaptionDataset:
    options = {"policy": two_texts, "batch_size": GLOBAL_BATCH // world_size, "strings": True, "seed": 5, **options}
    return CaptionDataset(out, rank=rank, world_size=world_size, **options)


def line(batch: dict[str, Any]) -> Line:
    return batch["step"], batch["keys"], batch["strings"]


def lines(out: Path, steps: int, rank: int, world_size: int = 2) -> list[Line]:
    made = dataset(out, rank, world_size)
    return [line(made.batch(step)) for step in range(steps)]


@pytest.mark.parametrize("world_size", [2, 4])
def test_resumed_at_any_step_with_other_workers(built: Built, world_size: int) -> None:
    rng = random.Random(world_size)
    steps, out = 32, built("webdataset")
    expected = [lines(out, steps, rank, world_size) for rank in range(world_size)]
    ends = [0, 5, 6, 7, 12, 30]  # around the ends of epochs
    for stop in [*ends, *rng.sample([n for n in range(steps) if n not in ends], 14)]:
        rank = rng.randrange(world_size)
        first = loader(dataset(out, rank, world_size), num_workers=rng.choice([0, 1, 2]))
        seen: list[Line] = lines_until(first, stop, line)
        state = first.state_dict()
        first.close()
        second = loader(dataset(out, rank, world_size), num_workers=rng.choice([0, 2]))
        second.load_state_dict(state)
        assert second.epoch == stop // 6
        seen += lines_until(second, steps, line)
        second.close()
        assert seen == expected[rank]


def test_each_epoch_has_every_sample_once_over_all_ranks(built: Built) -> None:
    out = built("webdataset")
    by_rank = [lines(out, 12, rank) for rank in range(2)]
    for epoch in range(2):
        keys = [key for rank in by_rank for step, keys, _ in rank if step // 6 == epoch for key in keys]
        assert len(keys) == len(set(keys)) == 48
    assert by_rank[0][0] != by_rank[0][6]


def test_the_world_may_change_where_the_global_batch_stays(built: Built) -> None:
    out = built("webdataset")
    of_two = [lines(out, 6, rank, 2) for rank in range(2)]
    of_four = [lines(out, 6, rank, 4) for rank in range(4)]
    for step in range(6):
        for part in (1, 2):
            assert [x for r in of_two for x in r[step][part]] == [x for r in of_four for x in r[step][part]]
    batches = loader(dataset(out, 1, 4))
    batches.load_state_dict(dataset(out, 0, 2).state_dict(4))
    assert line(next(iter(batches))) == of_four[1][4]


def test_an_iteration_has_its_epochs_and_the_next_goes_on(built: Built) -> None:
    batches = loader(dataset(built("webdataset"), epochs=1), num_workers=2)
    assert len(batches) == 6
    first, second = [line(b) for b in batches], [line(b) for b in batches]
    assert [step for step, *_ in first + second] == list(range(12))
    for batch in batches:
        if batch["step"] == 13:
            break
    assert (batches.step, batches.epoch) == (14, 2)
    assert [batch["step"] for batch in batches] == [14, 15, 16, 17]
    batches.close()


def test_after_the_last_batch_of_an_epoch_the_next_one_begins(built: Built) -> None:
    batches = loader(dataset(built("webdataset"), epochs=1))
    states = [batches.state_dict() for _ in batches]
    resumed = loader(dataset(built("webdataset"), epochs=1))
    resumed.load_state_dict(states[-1])
    assert resumed.epoch == 1
    assert [batch["step"] for batch in resumed] == list(range(6, 12))


def test_validation_is_the_same_each_time(built: Built) -> None:
    batches = loader(dataset(built("webdataset"), split="val", world_size=1, rank=0, batch_size=2), num_workers=1)
    next(iter(batches))
    first, second = list(batches), list(batches)
    assert [line(b) for b in first] == [line(b) for b in second]
    assert [key for b in first for key in b["keys"]] == ["000000004", "000010004", "000020004", "000000004"]
    assert [m for b in first for m in b["mask"].tolist()] == [True, True, True, False]


def test_a_plain_data_loader(built: Built) -> None:
    from torch.utils.data import DataLoader

    out = built("webdataset")
    made = dataset(out, epochs=1)
    made.set_epoch(1)
    plain = DataLoader(made, batch_size=None, num_workers=2)
    assert [line(batch) for batch in plain] == lines(out, 12, 0)[6:]
    alone = iter(made)  # the epoch behind the one that the workers finished
    assert [line(next(alone)) for _ in range(2)] == lines(out, 14, 0)[12:]
    other = dataset(out, epochs=1)
    other.load_state_dict(made.state_dict())
    assert [batch["step"] for batch in other] == [14, 15, 16, 17]
    assert [batch["step"] for batch in other] == list(range(18, 24))


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("persistent", [False, True])
def test_epochs_advance_by_themselves(
    built: Built, caplog: pytest.LogCaptureFixture, context: str, persistent: bool
) -> None:
    """A plain DataLoader without `set_epoch`: each finished iteration is followed by the next epoch."""
    from torch.utils.data import DataLoader

    made = dataset(built("webdataset"), epochs=1, policy=policy.weighted(2, 2))
    plain = DataLoader(
        made, batch_size=None, num_workers=2, multiprocessing_context=context, persistent_workers=persistent
    )
    steps = [[batch["step"] for batch in plain] for _ in range(3)]
    assert steps == [list(range(6)), list(range(6, 12)), list(range(12, 18))]
    assert made.state_dict()["step"] == 18
    del plain


@pytest.mark.parametrize("persistent", [False, True])
def test_an_epoch_set_after_a_break_is_the_next(built: Built, persistent: bool) -> None:
    from torch.utils.data import DataLoader

    made = dataset(built("webdataset"), epochs=1)
    plain = DataLoader(made, batch_size=None, num_workers=2, persistent_workers=persistent)
    for batch in plain:
        if batch["step"] == 2:
            break
    made.set_epoch(3)
    assert [batch["step"] for batch in plain] == list(range(18, 24))
    assert [batch["step"] for batch in plain] == list(range(24, 30))
    del plain


@pytest.mark.parametrize("persistent", [False, True])
def test_a_break_without_set_epoch_is_warned_of_once(
    built: Built, capfd: pytest.CaptureFixture[str], persistent: bool
) -> None:
    from torch.utils.data import DataLoader

    plain = DataLoader(
        dataset(built("webdataset"), epochs=1, policy=policy.weighted(2, 2)),
        batch_size=None,
        num_workers=2,
        persistent_workers=persistent,
        multiprocessing_context="spawn",  # a forked worker logs into pytest's own handlers
    )
    next(iter(plain))
    first = [batch["step"] for batch in plain]
    assert first == list(range(6))
    assert [batch["step"] for batch in plain] == list(range(6, 12))
    del plain
    assert capfd.readouterr().err.count("epoch 0 begins again") == 1


def test_workers_that_are_spawned(built: Built) -> None:
    """As Python 3.14 starts them: the dataset and the policy are pickled."""
    made = dataset(built("webdataset"), policy=policy.weighted(2, 2))
    batches = loader(made, num_workers=1, multiprocessing_context="spawn")
    assert line(next(iter(batches))) == line(made.batch(0))
    batches.close()


def test_what_a_state_is_refused_for(built: Built, own_copy: Built) -> None:
    out = built("webdataset")
    state = loader(dataset(out)).state_dict()
    assert all(type(value) is int for value in state.values())
    with pytest.raises(DatasetError, match=r"saved with other data \(fingerprint [0-9a-f]{16}, and this has"):
        loader(dataset(built("parquet"))).load_state_dict(state)
    with pytest.raises(UserError, match="global batches of 8, and batch_size 3 on 2 ranks makes 6"):
        loader(dataset(out, batch_size=3)).load_state_dict(state)
    with pytest.raises(UserError, match="saved with seed 5, and this dataset has 6"):
        loader(dataset(out, seed=6)).load_state_dict(state)
    with pytest.raises(UserError, match='saved with drop_last="pad" 0, and this dataset has 1'):
        loader(dataset(out, drop_last="pad")).load_state_dict(state)
    with pytest.raises(UserError, match="saved with block 0, and this dataset has 2"):
        loader(dataset(out, block=2)).load_state_dict(state)
    with pytest.raises(UserError, match="version 2"):
        loader(dataset(out)).load_state_dict({**state, "version": 2})
    with pytest.raises(UserError, match="not a state"):
        loader(dataset(out)).load_state_dict({"version": 1, "step": 3})


@pytest.mark.parametrize("epochs", [None, 1])
@pytest.mark.parametrize("delivered", [1, 4, 5, 6])
def test_copies_in_workers_have_states(
    built: Built, monkeypatch: pytest.MonkeyPatch, epochs: int | None, delivered: int
) -> None:
    """What torchdata's StatefulDataLoader does with two workers: it asks the copy in each of them, loads what they said
    into new copies, and goes on with the next worker. Here the copies are played in this process."""
    out = built("webdataset")

    def play(copies: list[CaptionDataset], first: int, most: int) -> list[int]:
        running = [iter(copy) for copy in copies]
        steps = []
        for turn in range(first, first + most):
            info = SimpleNamespace(id=turn % 2, num_workers=2, seed=7 + turn % 2)
            monkeypatch.setattr("recaption.load.resumable.get_worker_info", lambda info=info: info)
            if (batch := next(running[turn % 2], None)) is not None:
                steps.append(batch["step"])
        return steps

    copies = [dataset(out, epochs=epochs) for _ in range(2)]
    assert play(copies, 0, delivered) == list(range(delivered))
    others = [dataset(out, epochs=epochs) for _ in range(2)]
    for copy, other in zip(copies, others, strict=True):
        other.load_state_dict(copy.state_dict())
    assert play(others, delivered, 8)[: 6 - delivered] == list(range(delivered, 6))


def test_a_workers_state_is_of_as_many_workers(built: Built) -> None:
    out = built("webdataset")
    state = {**dataset(out).state_dict(), "step": 9, "stride": 4, "end": -1}
    made = dataset(out)
    made.load_state_dict(state)
    with pytest.raises(UserError, match="saved by one of 4 workers, and there are 1"):
        next(iter(made))
    with pytest.raises(UserError, match="Save the state of the loader"):
        loader(made).load_state_dict(state)


@pytest.mark.parametrize("options", [{"batch_size": 3}, {"shuffle": True}, {"in_order": False}])
def test_options_that_are_the_datasets(built: Built, options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        loader(dataset(built("webdataset")), **options)


@given(st.integers(1, 200), st.integers(1, 9), st.integers(1, 5), st.sampled_from(["global", "pad"]))
def test_ranks_share_an_epoch(samples: int, batch_size: int, world_size: int, drop_last: str) -> None:
    if drop_last == "global" and samples < batch_size * world_size:
        with pytest.raises(UserError, match=f"{samples} samples, so an epoch has no whole batch"):
            BatchSchedule(samples=samples, batch_size=batch_size, world_size=world_size, drop_last="global")
        return
    steps = BatchSchedule(samples=samples, batch_size=batch_size, world_size=world_size, drop_last=drop_last)  # type: ignore
    seen: list[int] = []
    for step in range(steps.per_epoch, 2 * steps.per_epoch):
        for rank in range(world_size):
            epoch, positions, mask = steps.batch(step, rank)
            assert (epoch, len(positions), len(mask)) == (1, batch_size, batch_size)
            assert ((positions >= 0) & (positions < samples)).all()
            seen += positions[mask].tolist()
    whole = samples if drop_last == "pad" else samples - samples % (batch_size * world_size)
    assert seen == list(range(whole))


def test_nothing_to_load() -> None:
    with pytest.raises(UserError, match="no sample to load"):
        BatchSchedule(samples=0, batch_size=1, world_size=1, drop_last="pad")
