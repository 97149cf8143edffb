"""One loader over the bench's tars, in a process of its own: samples/s, and how long the first batch took.

Run by load.py: `side_loader.py SIDE FOLDER SAMPLES`; prints JSON.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BATCH, K, MAX_MERGE = 32, 8, 3
FIELDS = ("raw_caption", "shortIB_captions", "longIB_captions", "shortSV_captions", "longSV_captions",
          "shortLLA_captions", "longLLA_captions")  # fmt: skip


def main() -> None:
    side, folder, samples = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    random.seed(0)
    print(json.dumps(SIDES[side](folder, samples)))


def webdataset(folder: Path, samples: int) -> dict[str, float]:
    """Shuffled, undecoded, the JSON parsed."""
    import webdataset as wds

    urls = sorted(map(str, (folder / "data").glob("*.tar")))
    dataset = wds.WebDataset(urls, shardshuffle=len(urls), seed=0).shuffle(1000)
    return _timed(({**one, "json": json.loads(one["json"])} for one in dataset), samples)


def undecoded(folder: Path, samples: int) -> dict[str, float]:
    from recaption.load import CaptionDataset
    from recaption.load.order import Permutation

    dataset = CaptionDataset(folder, batch_size=1)
    size = dataset.steps.samples
    order = Permutation(size, 0)(range(size)).tolist()
    return _timed((dataset.sample(order[n % size]) for n in range(samples)), samples)


def open_clip(folder: Path, samples: int) -> dict[str, float]:
    """open_clip_train/data.py, get_wds_dataset, stage by stage, with FLAIR's sample_dict in place of the `.txt`."""
    import webdataset as wds
    from open_clip import SimpleTokenizer
    from open_clip_train.data import (
        SharedEpoch,
        detshuffle2,
        filter_no_caption_or_no_image,
        log_and_continue,
        tarfile_to_samples_nothrow,
    )

    tokenizer, crop = SimpleTokenizer(), transform()

    def sampled(one: dict[str, Any]) -> dict[str, Any]:
        pool = [text for field in FIELDS for text in one["json"][field]]
        return {"image": crop(one["jpg"]), "text": tokenizer([_flair(pool) for _ in range(K)])}

    dataset = wds.DataPipeline(
        wds.SimpleShardList(sorted(map(str, (folder / "data").glob("*.tar")))),
        detshuffle2(bufsize=2000, initial=500, seed=0, epoch=SharedEpoch()),
        wds.split_by_node,
        wds.split_by_worker,
        tarfile_to_samples_nothrow,
        wds.shuffle(bufsize=5000, initial=1000),
        wds.select(filter_no_caption_or_no_image),
        wds.decode("pilrgb", handler=log_and_continue),
        wds.map(sampled),
        wds.to_tuple("image", "text"),
        wds.batched(BATCH, partial=False),
    )
    batches = wds.WebLoader(dataset, batch_size=None, shuffle=False, num_workers=0)
    return _timed(batches, samples // BATCH, BATCH)


def _flair(pool: list[str]) -> str:
    """diverse sampling as FLAIR's random_sample_from_list does it (src/flair/data.py), written anew."""
    merged = random.randint(1, MAX_MERGE)
    if merged == 1:
        return random.choice(pool)
    if random.random() < 0.5:
        at = random.randint(0, max(0, len(pool) - merged))
        return ". ".join(pool[at : at + merged])
    return ". ".join(random.sample(pool, min(merged, len(pool))))


def ours(folder: Path, samples: int, token_ids: bool = True) -> dict[str, float]:
    """Times the functions that the user gave; the remaining time is that of the loader."""
    from recaption.load import CaptionDataset, loader, policy
    from recaption.load.pixels import decode_pil

    clock = _Clock()
    dataset = CaptionDataset(
        folder, batch_size=BATCH, policy=policy.flair(K, MAX_MERGE), decode=clock.of(decode_pil),
        transform=clock.of(transform()), tokenizer="clip", token_ids=token_ids, seed=0,
    )  # fmt: skip
    encoder = dataset._texts._encoder  # type: ignore[attr-defined]
    object.__setattr__(encoder, "encode", clock.of(encoder.encode))  # with stored ids: of texts that do not compose
    # the clock is read where the rate is: after the first batch
    made = _timed(loader(dataset), samples // BATCH, BATCH, clock.reset)
    return {**made, "own_share": 1 - clock.seconds / made["seconds"]}


def transform() -> Callable[[Any], Any]:
    from open_clip import image_transform

    made: Callable[[Any], Any] = image_transform(224, is_train=True)
    return made


class _Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def reset(self) -> None:
        self.seconds = 0.0

    def of(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            started = time.perf_counter()
            made = function(*given, **named)
            self.seconds += time.perf_counter() - started
            return made

        return timed


def resumed(folder: Path, samples: int) -> dict[str, float]:
    """The first batch of a loader that begins at the step `samples`."""
    from recaption.load import CaptionDataset, loader, policy

    dataset = CaptionDataset(folder, batch_size=BATCH, policy=policy.flair(K), tokenizer="clip", transform=transform())
    started = time.perf_counter()
    batches = loader(dataset)
    batches.load_state_dict(dataset.state_dict(samples))
    next(iter(batches))
    return {"first_batch": time.perf_counter() - started}


def started(folder: Path, workers: int) -> dict[str, float]:
    """The time to the first batch with this many workers, and with as many workers that only send an empty batch."""
    from torch.utils.data import DataLoader

    from recaption.load import CaptionDataset, loader, policy

    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    dataset = CaptionDataset(folder, batch_size=BATCH, policy=policy.flair(K), tokenizer="clip", transform=transform())
    begun = time.perf_counter()
    next(iter(DataLoader(Nothing(), batch_size=None, num_workers=workers)))
    trivial = time.perf_counter() - begun
    begun = time.perf_counter()
    next(iter(loader(dataset, num_workers=workers)))
    return {"first_batch": time.perf_counter() - begun, "trivial": trivial}


class Nothing:
    """A dataset of empty batches."""

    def __len__(self) -> int:
        return 1 << 20

    def __getitem__(self, index: int) -> dict[str, int]:
        return {}


def memory(folder: Path, epochs: int) -> dict[str, float]:
    """MiB that the process grew by from the first quarter of an epoch to the end of the last; images are not decoded:
    that is Pillow's."""
    import torch

    from recaption.load import CaptionDataset, policy

    image = torch.zeros(3, 2, 2)
    dataset = CaptionDataset(folder, batch_size=BATCH, policy=policy.flair(K), tokenizer="clip", decode=lambda _: image)
    steps = dataset.steps.per_epoch
    for step in range(steps // 4):
        dataset.batch(step)
    before = _resident()
    for step in range(steps // 4, epochs * steps):
        dataset.batch(step)
    return {"grown_mib": _resident() - before}


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def _timed(made: Any, count: int, size: int = 1, after_first: Callable[[], None] = lambda: None) -> dict[str, float]:
    """The rate after the first item, of `count` items of `size` samples."""
    started = time.perf_counter()
    items: Iterator[Any] = iter(made)
    next(items)
    first = time.perf_counter()
    after_first()
    for _ in range(count - 1):
        if next(items, None) is None:
            raise SystemExit(f"only {count} items were asked for, and there are fewer")
    seconds = time.perf_counter() - first
    return {"rate": (count - 1) * size / seconds, "seconds": seconds, "first_batch": first - started}


SIDES: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "webdataset": webdataset,
    "undecoded": undecoded,
    "open_clip": open_clip,
    "stored": ours,
    "live": lambda folder, samples: ours(folder, samples, token_ids=False),
    "resumed": resumed,
    "started": started,
    "memory": memory,
}

if __name__ == "__main__":
    main()
