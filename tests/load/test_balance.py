"""recaption.load.balance: the samples that each epoch keeps."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loading import Built, opened

from recaption.cli import main
from recaption.errors import UserError
from recaption.load import Mixture, loader
from recaption.load import balance as balancing
from recaption.load.balance import Balance
from recaption.load.order import Order, uniform


def made(p: np.ndarray, *, seed: int = 0, block: int | None = None) -> Balance:
    draw = np.random.default_rng(1).integers(0, 2**64, len(p), np.uint64)
    order = Order([100] * (len(p) // 100), seed, block=block)
    return Balance(p.astype(np.float32), draw, order, seed)


def epoch(of: Balance, number: int) -> list[int]:
    return of(number, np.arange(of.samples)).tolist()


def test_samples_are_seen_in_proportion_to_their_probability() -> None:
    p = np.repeat([0.1, 0.5, 1.0], 100)
    of = made(p)
    assert of.samples == 160
    seen = np.bincount(np.concatenate([epoch(of, n) for n in range(200)]), minlength=300).reshape(3, 100).mean(1) / 200
    assert seen == pytest.approx([0.1, 0.5, 1.0], abs=0.03)


def test_an_epoch_has_the_kept_samples_in_its_own_order() -> None:
    p = np.random.default_rng(2).random(1000)
    of = made(p, block=2)
    for number in (0, 1):
        order = of._order(number, np.arange(1000))
        kept = order[uniform(of._draw[order], 0, number) < of._p[order]].tolist()
        expected = (kept + kept)[: of.samples]  # an epoch that keeps fewer begins again
        assert epoch(of, number) == expected
        assert len(set(expected[: len(kept)])) == min(len(kept), of.samples), "none twice"
    assert set(epoch(of, 0)) != set(epoch(of, 1))


def test_chunks_do_not_change_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    p = np.random.default_rng(3).random(1000)
    whole = epoch(made(p), 4)
    monkeypatch.setattr(balancing, "_CHUNK", 64)
    small = made(p)
    slots = np.random.default_rng(0).permutation(small.samples)
    assert small(4, slots).tolist() == np.array(whole)[slots].tolist()


def test_a_decision_depends_on_seed_key_and_epoch_alone() -> None:
    p, words = np.full(1000, 0.5), np.arange(1000, dtype=np.uint64)
    chosen = {(seed, n): uniform(words, seed, n) < p for seed in (0, 1) for n in (0, 1)}
    assert len({mask.tobytes() for mask in chosen.values()}) == 4
    assert (uniform(words[::-1], 0, 1) < p).tolist() == chosen[0, 1][::-1].tolist()
    assert all(mask.sum() == pytest.approx(500, abs=80) for mask in chosen.values())


def test_everything_is_kept_at_p_1_and_an_epoch_without_samples_has_all() -> None:
    order = Order([100] * 3, 0)
    assert epoch(made(np.ones(300)), 0) == order(0, np.arange(300)).tolist()
    assert epoch(made(np.zeros(300)), 0) == order(0, [0]).tolist()


@pytest.fixture
def balanced(built: Built, tmp_path: Path) -> Callable[..., Any]:
    """Opens a build of 48 images, which all name a cat, with t = 12: a quarter of them is kept."""

    def open_it(format: str = "webdataset", **options: Any) -> Any:
        file = tmp_path / f"{format}.parquet"
        if not file.exists():
            assert main(["balance", str(built(format)), "--t", "12", "-o", str(file)]) == 0
        return opened(built(format), balance=file, **{"batch_size": 4, **options})

    return open_it


@pytest.mark.parametrize("format", ["webdataset", "sidecar", "parquet"])
def test_an_epoch_of_a_build_has_a_quarter_of_its_images(format: str, balanced: Callable[..., Any]) -> None:
    dataset = balanced(format)
    assert dataset.steps.per_epoch == 3
    keys = [key for step in range(3 * 20) for key in dataset.batch(step)["keys"]]
    assert len(keys) == 12 * 20 and len(set(keys)) == 48


def test_a_resume_is_exact_with_any_number_of_workers(balanced: Callable[..., Any]) -> None:
    whole = [dataset_batch["keys"] for dataset_batch in map(balanced().batch, range(9))]
    first = loader(balanced(epochs=1))
    delivered = []
    for batch in first:
        delivered.append(batch["keys"])
        if len(delivered) == 2:
            state = first.state_dict()
            break
    again = loader(balanced(epochs=1), num_workers=2)
    again.load_state_dict(state)
    for _ in range(2):
        delivered += [batch["keys"] for batch in again]
    again.close()
    assert delivered == whole[:6]


def test_states_of_another_balance_are_refused(balanced: Callable[..., Any], built: Built) -> None:
    state = balanced().state_dict()
    with pytest.raises(Exception, match="saved with other data"):
        opened(built("webdataset"), batch_size=4).load_state_dict(state)


def test_ranks_share_an_epoch_and_mixtures_take_it(balanced: Callable[..., Any]) -> None:
    whole = balanced(batch_size=8).batch(0)["keys"]
    halves = [balanced(rank=rank, world_size=2).batch(0)["keys"] for rank in (0, 1)]
    assert [*halves[0], *halves[1]] == whole
    mixed = Mixture([(balanced(), 0.5), (balanced(), 0.5)])
    assert mixed.steps.samples == 24 and len(mixed.batch(5)["keys"]) == 4


def test_a_file_of_another_build_and_wrong_settings_are_refused(
    balanced: Callable[..., Any], built: Built, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    balanced()
    with pytest.raises(UserError, match="balance is for split train, and split is val"):
        balanced(split="val")
    with pytest.raises(UserError, match=r"there is no file missing\.parquet"):
        opened(built("webdataset"), balance="missing.parquet")
    shutil.copytree(Path(__file__).parent.parent / "golden" / "output", tmp_path / "golden", symlinks=True)
    assert main(["balance", str(tmp_path / "golden")]) == 0
    with pytest.raises(UserError, match="is of build webdataset, and build b is loaded"):
        opened(built("webdataset"), balance=tmp_path / "golden" / "balance.parquet")
