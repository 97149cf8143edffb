"""Publishes a build as the dataset of an output with one rename, and removes the other builds."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from recaption.errors import DatasetError, StoreError, in_words
from recaption.formatting import number_of
from recaption.io.store import Store
from recaption.output.locate import current_build
from recaption.output.paths import BUILDS, CURRENT, DATASET, MANIFEST, build_folder
from recaption.write.shard import forget_shards


def publish(store: Store, build: str) -> None:
    """Make `builds/<build>` the dataset: the symlink `dataset` locally, the file CURRENT on object stores.

    Open readers of the old build are not affected, because its files stay. Raises DatasetError for a build without a
    manifest, which is unfinished.
    """
    target = build_folder(build)
    if not store.exists(f"{target}/{MANIFEST}"):
        raise DatasetError(f"{store.url}/{target} has no manifest.json: the build is not finished")
    link = store.local(DATASET)
    if link is None:
        store.put(CURRENT, target.encode())
        return
    if link.exists() and not link.is_symlink():
        raise StoreError(f"{link} is not a symlink of recaption. Move it away, then run `recaption build` again")
    _switch(link, target)


def _switch(link: Path, target: str) -> None:
    """Point `link` at the relative path `target` in one rename, and make the rename durable."""
    temporary = link.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        temporary.symlink_to(target, target_is_directory=True)
        try:
            temporary.replace(link)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        folder = os.open(link.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise StoreError(f"cannot publish {link}: {in_words(error)}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class Pruned:
    """The removed builds."""

    builds: int
    bytes: int

    def __str__(self) -> str:
        if not self.builds:
            return "pruned: there is no other build"
        return f"pruned: {number_of(self.builds, 'other build')}, {self.bytes / 1e6:,.1f} MB"


def prune(store: Store) -> Pruned:
    """Remove all builds except the published one, including unfinished ones. Without a published build, remove nothing.

    Links among the builds and their targets are kept. The caller must hold the output's lease, because a build in
    progress looks like an abandoned one.
    The manifest is removed first: if the process is killed then, the remaining files are not mistaken for a finished
    build. The entries of finished shards are removed next, so that no run resumes the build from the remaining files.
    """
    kept = current_build(store)
    builds = bytes_ = 0
    for build in list(store.folders(BUILDS)) if kept else ():
        folder = build_folder(build)
        if build == kept or ((local := store.local(folder)) is not None and local.is_symlink()):
            continue
        bytes_ += _size(store, f"{folder}/{MANIFEST}")
        store.delete(f"{folder}/{MANIFEST}")
        bytes_ += forget_shards(store, folder) + store.remove(folder)
        builds += 1
    return Pruned(builds=builds, bytes=bytes_)


def _size(store: Store, path: str) -> int:
    try:
        return len(store.get(path))
    except FileNotFoundError:
        return 0
