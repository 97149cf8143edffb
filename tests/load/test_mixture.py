"""Several datasets in one: exact shares, each sample once in its own epoch, resumable as one is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from loading import lines_until, raw_text, two_texts
from samples import jpeg, sample, write_tar

from recaption.errors import DatasetError, UserError
from recaption.load import CaptionDataset, Mixture, loader, policy, shards
from recaption.load.mixture import _PERIOD, _schedule

Built = Callable[[str], Path]


@pytest.fixture(scope="module")
def raw_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """img2dataset's kind of tars: 20 images."""
    folder = tmp_path_factory.mktemp("raw_only")
    for shard in range(2):
        samples = [sample(f"{shard}x{i}", jpeg(i, (16, 12)), f"alt {shard} {i}") for i in range(10)]
        write_tar(folder / f"{shard:05d}.tar", samples)
    return folder


def mixed(
    built: Built,
    raw_only: Path,
    weights: tuple[float, float] = (3, 1),
    rank: int = 0,
    world_size: int = 1,
    lanes: int = 0,
    **options: Any,
) -> Mixture:
    common: dict[str, Any] = {
        "batch_size": 16 // world_size, "rank": rank, "world_size": world_size, "strings": True, "policy": policy.raw(2)
    }  # fmt: skip
    ours = CaptionDataset(built("webdataset"), **{**common, "policy": two_texts, "lanes": lanes})
    theirs = CaptionDataset(raw_only, **common)  # of the same lanes if it is read in pieces, too
    return Mixture([(ours, weights[0]), (theirs, weights[1])], **options)


def line(batch: dict[str, Any]) -> Any:
    return batch["step"], batch["keys"], batch["strings"], batch["dataset"].tolist()


def test_shares_are_exact_and_every_sample_comes_once_an_epoch(built: Built, raw_only: Path) -> None:
    made = mixed(built, raw_only)
    batches = [made.batch(step) for step in range(12)]
    for batch in batches:
        assert batch["dataset"].tolist().count(0) == 12 and batch["images"].shape == (16, 3, 12, 16)
    ours = [key for b in batches for key, d in zip(b["keys"], b["dataset"].tolist(), strict=True) if d == 0]
    theirs = [key for b in batches for key, d in zip(b["keys"], b["dataset"].tolist(), strict=True) if d == 1]
    for keys, size in ((ours, 48), (theirs, 20)):
        epochs = [keys[at : at + size] for at in range(0, len(keys) - size + 1, size)]
        assert len(epochs) >= 2 and all(len(set(epoch)) == size for epoch in epochs)
        assert epochs[0] != epochs[1] and set(epochs[0]) == set(epochs[1])
    places = [tuple(n for n, d in enumerate(b["dataset"].tolist()) if d) for b in batches]
    assert len(set(places)) > 6  # not always the same slots, which would be the same ranks


def test_batches_lead_to_their_records(built: Built, raw_only: Path) -> None:
    made = mixed(built, raw_only)
    assert made.generations == ("raw",)
    batch = made.batch(5)
    for n, which in enumerate(batch["dataset"].tolist()):
        record = made.datasets[which].sample(int(batch["index"][n])).record
        assert record.key == batch["keys"][n]
        for k, text in enumerate(batch["strings"][n]):
            caption, idx = record.captions[int(batch["caption"][n, k])], int(batch["idx"][n, k])
            assert text == (caption.text if idx < 0 else caption.sub_captions[idx].text)
    assert (batch["step"], batch["epoch"], batch["skipped"]) == (5, 1, 0)  # of (48 + 20) // 16 steps


@pytest.mark.parametrize("lanes", [0, 2])
def test_neither_ranks_nor_workers_enter(built: Built, raw_only: Path, lanes: int) -> None:
    alone = mixed(built, raw_only, lanes=lanes)
    ranks = [mixed(built, raw_only, rank=rank, world_size=4, lanes=lanes) for rank in range(4)]
    for step in (0, 3, 7):
        whole = alone.batch(step)
        parts = [one.batch(step) for one in ranks]
        for name in ("keys", "strings"):
            assert [x for part in parts for x in part[name]] == whole[name]
        assert torch.equal(torch.cat([part["dataset"] for part in parts]), whole["dataset"])
    expected = [line(alone.batch(step)) for step in range(9)]
    for stop, workers in ((1, 0), (4, 2), (5, 1)):
        first = loader(mixed(built, raw_only, lanes=lanes), num_workers=workers)
        seen = lines_until(first, stop, line)
        state = first.state_dict()
        first.close()
        second = loader(mixed(built, raw_only, lanes=lanes), num_workers=2 - workers)
        second.load_state_dict(state)
        seen += lines_until(second, 9, line)
        second.close()
        assert seen == expected


def test_a_state_of_another_mixture_is_refused(built: Built, raw_only: Path) -> None:
    state = mixed(built, raw_only).state_dict()
    with pytest.raises(DatasetError, match="saved with other data"):
        mixed(built, raw_only, (2, 1)).load_state_dict(state)
    with pytest.raises(UserError, match="saved with seed 0, and this dataset has 1"):
        mixed(built, raw_only, seed=1).load_state_dict(state)
    mixed(built, raw_only, (6, 2), rank=1, world_size=2).load_state_dict(state)
    with pytest.raises(DatasetError, match="saved with other data"):
        mixed(built, raw_only, lanes=2).load_state_dict(state)
    state = mixed(built, raw_only, lanes=2).state_dict()
    with pytest.raises(UserError, match="saved with lanes 2, and this dataset has 1"):
        mixed(built, raw_only, lanes=1).load_state_dict(state)


def test_with_lanes_every_sample_comes_once_an_epoch_and_shares_hold(built: Built, raw_only: Path) -> None:
    made = mixed(built, raw_only, lanes=2)
    seen: tuple[list[str], list[str]] = [], []
    for step in range(160):  # 16 lanes: 3 samples of 48 in each, and 1 or 2 of 20
        batch = made.batch(step)
        assert 10 <= batch["dataset"].tolist().count(0) <= 14
        for key, which in zip(batch["keys"], batch["dataset"].tolist(), strict=True):
            seen[which].append(key)
    assert len(seen[0]) / 2560 == pytest.approx(0.75, abs=0.01)
    for keys, size in zip(seen, (48, 20), strict=True):
        counts = Counter(keys)
        assert len(counts) == size
        if size == 48:  # lanes of equal size are equally far, but for their parts of a batch
            assert max(counts.values()) - min(counts.values()) <= 2


def test_with_lanes_ranks_and_workers_read_different_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        rows = [sample(f"{name}{i}", jpeg(i, (16, 12)), f"alt {i}") for i in range(320)]
        write_tar(tmp_path / name / "0.tar", rows)
    size = (tmp_path / "one" / "0.tar").stat().st_size
    monkeypatch.setattr("recaption.load.pieces.PIECE_BYTES", size // 32)
    reads = Counter[str]()
    real = shards.TarShards._piece

    def piece(self: Any, file: int, first: int, stop: int) -> Any:
        reads[self._data[file].path] += 1
        return real(self, file, first, stop)

    monkeypatch.setattr(shards.TarShards, "_piece", piece)
    monkeypatch.setattr(Mixture, "_workers", staticmethod(lambda: 8))
    steps = 640 // 16
    for rank, worker in ((rank, worker) for rank in range(2) for worker in range(8)):
        options: dict[str, Any] = {"batch_size": 8, "rank": rank, "world_size": 2, "policy": raw_text, "block": 1}
        made = Mixture([(CaptionDataset(tmp_path / name, lanes=2, **options), 1) for name in ("one", "two")])
        for step in range(worker, steps, 8):
            made.batch(step)
    pieces = sum(len(dataset._shards.units) for dataset in made.datasets)
    assert pieces > 60 and reads.total() <= 1.6 * pieces, "one epoch of each; a lane has 20 samples, in 2 to 4 pieces"


def test_epochs_are_as_long_as_one_likes(built: Built, raw_only: Path) -> None:
    made = mixed(built, raw_only, epochs=1, epoch_samples=40)
    assert len(made) == 2 and [batch["epoch"] for batch in loader(made)] == [0, 0]


@pytest.mark.parametrize("weights", [[1.0], [0.7, 0.3], [5, 1, 1e-3, 2], [1 / 3] * 3])
def test_a_schedule_is_even(weights: list[float]) -> None:
    schedule, counts = _schedule(weights)
    assert len(schedule) == counts.sum() == _PERIOD and Counter(schedule.tolist()) == Counter(dict(enumerate(counts)))
    for n, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(counts[n] / _PERIOD - share) <= 1 / _PERIOD
        behind = (schedule == n).cumsum() - counts[n] / _PERIOD * torch.arange(1, _PERIOD + 1).numpy()
        assert abs(behind).max() < len(weights)  # never much more or less than its share


def test_what_does_not_go_together(built: Built, raw_only: Path) -> None:
    def of(path: Path, **options: Any) -> CaptionDataset:
        return CaptionDataset(path, **{"batch_size": 4, "policy": raw_text, "strings": True, **options})

    one = of(built("webdataset"))
    for weights in ([], [0.0], [-1.0], [float("nan")], [1.0, 1e-9]):
        with pytest.raises(UserError, match=r"no dataset to mix|the weights are"):
            Mixture([(one, weight) for weight in weights])
    with pytest.raises(UserError, match=r"dataset 1 has batch_size, rank and world_size \(5, 0, 1\)"):
        Mixture([(one, 1), (of(raw_only, batch_size=5), 1)])
    with pytest.raises(UserError, match=r"dataset 0 has lanes=1, dataset 1 has lanes=2; give all datasets the same"):
        Mixture([(of(built("webdataset"), lanes=1), 1), (of(raw_only, lanes=2), 1)])
    with pytest.raises(
        UserError, match=r"dataset 1 has 20 samples, fewer than the 32 lanes .*\(8 x lanes, which is 4\)"
    ):
        Mixture([(one, 1), (of(raw_only, lanes=4), 1)])
    with pytest.raises(UserError, match="dataset 0 has split 'val'"):
        Mixture([(of(built("webdataset"), split="val"), 1)])
    with pytest.raises(UserError, match="epoch_samples is 0"):
        Mixture([(one, 1)], epoch_samples=0)
    with pytest.raises(UserError, match=r"caption of the datasets have shapes \(1,\), \(2,\)"):
        Mixture([(one, 1), (of(raw_only, policy=policy.raw(2)), 1)]).batch(0)
    with pytest.raises(UserError, match="some of the datasets have 'keys' in their batches"):
        Mixture([(one, 1), (of(raw_only, strings=False), 1)]).batch(0)


def test_images_of_different_sizes_are_a_list(built: Built, raw_only: Path) -> None:
    options: dict[str, Any] = {"batch_size": 4, "policy": raw_text}
    large = CaptionDataset(raw_only, transform=lambda image: image.resize((20, 20)), **options)
    images = Mixture([(CaptionDataset(built("webdataset"), **options), 1), (large, 1)]).batch(0)["images"]
    assert isinstance(images, list) and sorted({tuple(image.shape) for image in images}) == [(3, 12, 16), (3, 20, 20)]


def test_one_that_cannot_be_read_is_replaced_in_its_own_dataset(own_copy: Built, raw_only: Path) -> None:
    out = own_copy("webdataset")
    data = out / "dataset/data/00001.tar"
    data.write_bytes(data.read_bytes()[:3000])
    ours = CaptionDataset(out, batch_size=8, policy=raw_text, on_error="skip")
    theirs = CaptionDataset(raw_only, batch_size=8, policy=raw_text, on_error="skip")
    batches = [Mixture([(ours, 1), (theirs, 1)]).batch(step) for step in range(6)]
    assert sum(batch["skipped"] for batch in batches) > 0
    assert all(batch["dataset"].tolist().count(0) == 4 and len(batch["index"]) == 8 for batch in batches)
    assert sum(int((~batch["mask"]).sum()) for batch in batches) > 0
