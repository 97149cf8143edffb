"""Pruning: builds that are not the dataset any more are removed, so that an output holds its images once."""

from __future__ import annotations

from dataclasses import dataclass

from recaption.io.store import Store
from recaption.write.publish import current_build
from recaption.write.shard import forget_shards


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """What was removed."""

    builds: int
    bytes: int

    def __str__(self) -> str:
        if not self.builds:
            return "pruned: there is no other build"
        return f"pruned: {self.builds:,} other build{'s' * (self.builds > 1)}, {self.bytes / 1e6:,.1f} MB"


def prune(store: Store) -> Pruned:
    """Remove all builds but the published one, unfinished ones too; nothing where none is published.

    A link among the builds is somebody else's, and is kept with what it points at.
    Only for who holds the output's lease: a build that another run is at looks like one that was left behind.
    Killed in between, what is left of a build is neither taken for a finished one, since its manifest goes first, nor
    for one to be continued, since what says which of its shards are done goes next.
    """
    kept = current_build(store)
    builds = bytes_ = 0
    for build in list(store.folders("builds")) if kept else ():
        folder = f"builds/{build}"
        if build == kept or ((local := store.local(folder)) is not None and local.is_symlink()):
            continue
        bytes_ += _size(store, f"{folder}/manifest.json")
        store.delete(f"{folder}/manifest.json")
        bytes_ += forget_shards(store, folder) + store.remove(folder)
        builds += 1
    return Pruned(builds=builds, bytes=bytes_)


def _size(store: Store, path: str) -> int:
    try:
        return len(store.get(path))
    except FileNotFoundError:
        return 0
