"""Whether a dataset has enough shards for the trainer that will read it."""

from __future__ import annotations

from typing import Any

from recaption.config import Trainer


def too_few_shards(manifest: dict[str, Any], trainer: Trainer | None) -> str | None:
    """What to say when there are fewer train shards than readers, with what to do; None when there are enough.

    Each worker of each GPU reads shards of its own. Unless it draws shards with replacement (`--dataset-resampled`),
    open_clip's `get_wds_dataset` (open_clip_train/data.py) asserts that there are as many, and so does FLAIR, whose
    loader comes from it; other loaders leave readers, and the GPUs that wait for them, without data.
    """
    if trainer is None:
        return None
    shards = sum(shard["splits"]["train"] > 0 for shard in manifest["shards"])
    if shards >= trainer.readers:
        return None
    samples = manifest["splits"]["train"]
    said = (
        f"{shards:,} train shards are fewer than the trainer's {trainer.readers:,} readers ({trainer.gpus:,} GPUs x "
        f"{trainer.workers:,} workers): open_clip and FLAIR refuse to begin, other loaders leave readers idle. "
    )
    if samples < trainer.readers:
        return said + f"There are only {samples:,} train samples: take fewer workers"
    what = f"output.samples_per_shard={samples // trainer.readers}"
    if manifest["format"] == "sidecar":
        what += " and output.format=webdataset (a sidecar's shards are its source's)"
    return said + f"recaption build with {what} makes enough of them"
